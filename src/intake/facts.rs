//! What is known of a connection before it speaks, and which call its audio belongs to: the start's word, the
//! token's, the URL's, or a fresh id (3.4, 3.6).

use std::{sync::Arc, time::Duration};

use super::Refusal;
use crate::{
    admission::{Claims, Rules},
    call::CallName,
    dialect::{
        reply::ErrorCode,
        start::{Parameters, Start},
    },
    frame::{Encoding, ID_BYTES_MAX, Sender, parse_rate},
};

/// What is known of a connection when it opens.
#[derive(Debug)]
pub struct Facts {
    pub sender: Sender,
    /// Tenant and call that a token binds the connection to.
    pub bound: Claims,
    /// What the URL says.
    pub hints: Hints,
    pub default_tenant: Arc<str>,
    /// Unique: names the connection in the log, and an Exotel call that nothing else names.
    pub connection_id: String,
    /// Who judges the token that must still come.
    pub awaits_token: Option<Arc<Rules>>,
}

/// What path and query of the upgrade request say, valid or not.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    pub call: Option<String>,
    pub tenant: Option<String>,
    pub rate: Option<String>,
    pub encoding: Option<String>,
    pub parameters: Parameters,
}

impl Facts {
    pub fn new(sender: Sender, default_tenant: &str, connection_id: &str) -> Self {
        Self {
            sender,
            bound: Claims::default(),
            hints: Hints::default(),
            default_tenant: default_tenant.into(),
            connection_id: connection_id.to_owned(),
            awaits_token: None,
        }
    }

    /// The call that `start` means, where `current` is the one under way.
    pub(super) fn name_call(
        &self,
        start: &Start,
        current: Option<&CallName>,
        warnings: &mut Vec<String>,
    ) -> Result<CallName, Refusal> {
        let tenant_id = self.tenant(start, current, warnings)?;
        let (first, second) = match self.sender {
            Sender::Exotel => (&start.call_sid, &start.interaction_id),
            Sender::Custom => (&start.interaction_id, &start.call_sid),
        };
        let named = self.usable(first.as_ref().or(second.as_ref()), "call id", warnings)?;
        if let (Some(bound), Some(named)) = (&self.bound.interaction_id, named)
            && bound != named
        {
            return Err(forbidden(
                "the token is for another interaction_id than the start names",
            ));
        }
        let interaction_id = named
            .or(self.bound.interaction_id.as_deref())
            .or(current.map(|current| current.interaction_id.as_str()))
            .or(self.hints.call.as_deref())
            .or((self.sender == Sender::Exotel).then_some(self.connection_id.as_str()))
            .ok_or_else(|| Refusal {
                code: ErrorCode::BadStart,
                message: "no interaction_id: name the call in a start event, in the query (call_sid) or in the token"
                    .to_owned(),
            })?;
        Ok(CallName {
            tenant_id,
            interaction_id: interaction_id.to_owned(),
        })
    }

    fn tenant(
        &self,
        start: &Start,
        current: Option<&CallName>,
        warnings: &mut Vec<String>,
    ) -> Result<String, Refusal> {
        let named = start.tenant_id.as_ref().or(start.account_sid.as_ref());
        let named = self.usable(named, "tenant id", warnings)?;
        if let (Some(bound), Some(named)) = (&self.bound.tenant_id, named)
            && bound != named
        {
            return Err(forbidden(
                "the token is for another tenant_id than the start names",
            ));
        }
        let in_parameters = start
            .custom_parameters
            .find(&["tenant_id"])
            .filter(|_| self.sender == Sender::Exotel);
        let tenant_id = self
            .bound
            .tenant_id
            .as_deref()
            .or(named)
            .or(in_parameters)
            .or(self.hints.tenant.as_deref())
            .or(current.map(|current| current.tenant_id.as_str()))
            .unwrap_or(&self.default_tenant);
        Ok(tenant_id.to_owned())
    }

    /// An id of a length that we take. Losing a call over an odd id would be worse than a name of our own.
    fn usable<'a>(
        &self,
        id: Option<&'a String>,
        what: &str,
        warnings: &mut Vec<String>,
    ) -> Result<Option<&'a str>, Refusal> {
        match (id, self.sender) {
            (Some(id), _) if id.len() <= ID_BYTES_MAX => Ok(Some(id)),
            (None, _) => Ok(None),
            (Some(_), Sender::Custom) => Err(Refusal {
                code: ErrorCode::BadStart,
                message: format!("the {what} is longer than {ID_BYTES_MAX} bytes"),
            }),
            (Some(_), Sender::Exotel) => {
                warnings.push(format!(
                    "the {what} is longer than {ID_BYTES_MAX} bytes and is passed over"
                ));
                Ok(None)
            }
        }
    }

    /// How long `bytes` of audio play, by what is known before a start.
    pub(super) fn play_time(&self, bytes: usize) -> Duration {
        let hertz = self
            .hints
            .rate
            .as_deref()
            .and_then(parse_rate)
            .filter(|&hertz| self.sender.allows_rate(hertz));
        let encoding = self
            .hints
            .encoding
            .as_deref()
            .and_then(Encoding::parse)
            .unwrap_or(Encoding::Pcm16);
        let samples = u32::try_from(bytes / encoding.sample_bytes()).unwrap_or(u32::MAX);
        Duration::from_secs(1) * samples / hertz.unwrap_or(self.sender.default_rate())
    }
}

fn forbidden(message: &str) -> Refusal {
    Refusal {
        code: ErrorCode::Forbidden,
        message: message.to_owned(),
    }
}
