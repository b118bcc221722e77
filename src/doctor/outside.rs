//! The causes that lie with Exotel, in the order in which they are met, with how to tell each: what is left to look at
//! once our side is proven good.
//!
//! Invariant: none of them can be seen from here, so none is ever `ok` or `failed`.

use super::step::{Status, Step};

pub(super) fn causes() -> Vec<Step> {
    CAUSES
        .iter()
        .map(|(name, detail, fix)| Step {
            name,
            status: Status::Skipped,
            detail: (*detail).to_owned(),
            fix: (*fix).to_owned(),
        })
        .collect()
}

const CAUSES: [(&str, &str, &str); 5] = [
    (
        "exotel-account",
        "streaming may not be enabled for the account",
        "see whether the flow editor offers a Stream or Voicebot applet; if not, have Exotel enable it (hello@exotel.com)",
    ),
    (
        "exotel-flow",
        "the call's flow may have no Stream or Voicebot applet with this URL",
        "open the flow of the number that is called: the applet must come behind Passthru and before the end, hold exactly this URL, and the flow must be saved and assigned to the number",
    ),
    (
        "exotel-api",
        "a call made through the API may not pass the flow",
        "have the API call connect to the flow that has the applet, or give it the stream's URL; compare with a call to the number by hand",
    ),
    (
        "exotel-network",
        "a firewall may let this machine in and not Exotel",
        "run doctor from a machine elsewhere; in Exotel's call log look for \"failed to connect with the websocket URL\"; ask hello@exotel.com for its addresses and let them in",
    ),
    (
        "exotel-plan",
        "the plan may not cover streams, or not so many at a time",
        "put a Passthru applet behind the stream and read Stream[Status], Stream[Error] and Stream[DetailedStatus]: Streaming_call_throttled is the plan; ask Exotel how many it allows",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_remain_say_how_to_check() {
        let causes = causes();
        assert_eq!(causes.len(), 5);
        assert!(
            causes
                .iter()
                .all(|step| step.status == Status::Skipped && !step.fix.is_empty())
        );
    }
}
