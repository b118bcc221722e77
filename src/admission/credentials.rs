//! What credentials a request carries: the `Authorization` header, or for browsers, which cannot set one, the
//! subprotocols `bearer, <jwt>` (3.2).
//!
//! Whether they are right is decided elsewhere. Invariant: credentials that cannot be read are refused, never taken for none.

use super::{BEARER, Refusal};

/// The row of 3.2's table that a request falls in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Credentials<'a> {
    Jwt {
        token: &'a str,
        subprotocol: Option<&'static str>,
    },
    /// What follows the scheme's name.
    Basic(&'a str),
    None,
}

pub(super) fn read<'a>(
    authorization: &[&'a [u8]],
    subprotocols: &[&'a [u8]],
) -> Result<Credentials<'a>, Refusal> {
    let header = match authorization {
        [] => None,
        [value] => Some(split(value)),
        _ => {
            let message = "several Authorization headers: send one";
            return Err(Refusal::unauthorized("several_authorizations", message));
        }
    };
    let offered = offered(subprotocols);
    let subprotocol = matches!(offered, Ok(Some(_))).then_some(SUBPROTOCOL);
    match header {
        // Enough by itself: what is offered beside it may be meant for somebody else.
        Some(Some((scheme, token))) if scheme.eq_ignore_ascii_case("bearer") => {
            return Ok(Credentials::Jwt { token, subprotocol });
        }
        _ => {}
    }
    if let Some(token) = offered? {
        return Ok(Credentials::Jwt { token, subprotocol });
    }
    match header {
        None => Ok(Credentials::None),
        Some(Some((scheme, rest))) if scheme.eq_ignore_ascii_case("basic") => {
            Ok(Credentials::Basic(rest))
        }
        Some(_) => {
            let message = "the Authorization header is neither Bearer nor Basic: \
                           send a JWT as Bearer, or Exotel's KEY:TOKEN as Basic";
            Err(Refusal::unauthorized("scheme", message).challenge(BEARER))
        }
    }
}

/// The scheme and the rest; `None` where the value is not text.
fn split(value: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(value).ok()?.trim();
    Some(match text.split_once([' ', '\t']) {
        Some((scheme, rest)) => (scheme, rest.trim()),
        None => (text, ""),
    })
}

/// The token that stands after `bearer`. A browser gives up unless it is answered the very spelling that it offered, so
/// another spelling is refused at once, in words.
fn offered<'a>(subprotocols: &[&'a [u8]]) -> Result<Option<&'a str>, Refusal> {
    let mut entries = subprotocols
        .iter()
        .flat_map(|value| value.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|entry| !entry.is_empty());
    let Some(name) = entries.find(|entry| entry.eq_ignore_ascii_case(SUBPROTOCOL.as_bytes()))
    else {
        return Ok(None);
    };
    let token = entries
        .next()
        .and_then(|entry| std::str::from_utf8(entry).ok());
    if name != SUBPROTOCOL.as_bytes() || token.is_none() {
        let message = "the subprotocol bearer needs a token: offer `bearer`, in lower case, and the JWT after it";
        return Err(Refusal::unauthorized("bad_subprotocol", message).challenge(BEARER));
    }
    Ok(token)
}

const SUBPROTOCOL: &str = "bearer";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(authorization: &[&str], subprotocols: &[&str]) -> Result<String, &'static str> {
        let authorization: Vec<_> = authorization.iter().map(|text| text.as_bytes()).collect();
        let subprotocols: Vec<_> = subprotocols.iter().map(|text| text.as_bytes()).collect();
        match read(&authorization, &subprotocols) {
            Ok(Credentials::Jwt { token, subprotocol }) => {
                Ok(format!("jwt {token} {}", subprotocol.unwrap_or("-")))
            }
            Ok(Credentials::Basic(rest)) => Ok(format!("basic {rest}")),
            Ok(Credentials::None) => Ok("none".to_owned()),
            Err(refusal) => {
                assert_eq!(refusal.status, 401);
                Err(refusal.reason)
            }
        }
    }

    #[test]
    fn the_header_is_read_tolerantly() {
        for (value, expected) in [
            ("Bearer a.b.c", Ok("jwt a.b.c -")),
            ("bearer a.b.c", Ok("jwt a.b.c -")),
            ("  BEARER \t  a.b.c  ", Ok("jwt a.b.c -")),
            ("Bearer", Ok("jwt  -")),
            ("Basic azp0", Ok("basic azp0")),
            ("bAsIc   azp0 ", Ok("basic azp0")),
            ("Basic", Ok("basic ")),
            ("Digest username=\"x\"", Err("scheme")),
            ("Bearera.b.c", Err("scheme")),
            ("a.b.c", Err("scheme")),
            ("", Err("scheme")),
            ("   ", Err("scheme")),
        ] {
            assert_eq!(
                check(&[value], &[]),
                expected.map(str::to_owned),
                "{value:?}"
            );
        }
        assert_eq!(read(&[b"\xff\xfe x"], &[]).unwrap_err().reason, "scheme");
        assert_eq!(check(&[], &[]).unwrap(), "none");
        assert_eq!(
            check(&["Bearer a", "Bearer a"], &[]),
            Err("several_authorizations")
        );
        assert_eq!(
            check(&["Basic a", "x"], &["bearer, a"]),
            Err("several_authorizations")
        );
    }

    #[test]
    fn browsers_offer_the_token() {
        for (values, expected) in [
            (&["bearer, a.b.c"][..], Ok("jwt a.b.c bearer")),
            (&["bearer,a.b.c"], Ok("jwt a.b.c bearer")),
            (&["bearer", "a.b.c"], Ok("jwt a.b.c bearer")),
            (&["audio, bearer, a.b.c, other"], Ok("jwt a.b.c bearer")),
            (&["audio"], Ok("none")),
            (&["bearer"], Err("bad_subprotocol")),
            (&["bearer, "], Err("bad_subprotocol")),
            (&["Bearer, a.b.c"], Err("bad_subprotocol")),
        ] {
            assert_eq!(
                check(&[], values),
                expected.map(str::to_owned),
                "{values:?}"
            );
        }
    }

    #[test]
    fn a_jwt_goes_before_all_else() {
        assert_eq!(
            check(&["Basic azp0"], &["bearer, a.b.c"]).unwrap(),
            "jwt a.b.c bearer"
        );
        assert_eq!(
            check(&["Digest x"], &["bearer, a.b.c"]).unwrap(),
            "jwt a.b.c bearer"
        );
        assert_eq!(
            check(&["Bearer d.e.f"], &["bearer, a.b.c"]).unwrap(),
            "jwt d.e.f bearer"
        );
        for beside in ["audio", "bearer", "BEARER, a.b.c"] {
            assert_eq!(check(&["Bearer d.e.f"], &[beside]).unwrap(), "jwt d.e.f -");
        }
        assert_eq!(check(&["Basic azp0"], &["bearer"]), Err("bad_subprotocol"));
    }
}
