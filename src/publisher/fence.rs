//! Which connection is ours on the server, and how an old one is made to say no more (5.5).
//!
//! A stalled link can deliver its bytes long after we have given it up. Before anything is read back to see what
//! arrived, the server is told to kill it: by its id *and* its address, since ids start over when Redis restarts, and
//! only while the server is still the same run.

use redis::{Value, cmd};
use serde::{Deserialize, Serialize};

use super::{
    link::{Link, LinkError},
    reply::EntryId,
};
use crate::record::Kind;

/// What may have arrived although nobody confirmed it.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Doubt {
    #[default]
    Nothing,
    /// What this connection was given last.
    Of(Identity),
    /// The same of a connection that the server did not let us name.
    Nameless,
    /// What this connection of an earlier process was given last is none of ours to find, but must not come later than
    /// what is ours.
    Behind(Identity),
}

/// Where a lane stands with its server: what has to be known to find out later what has arrived there.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Footing {
    pub(super) marks: Marks,
    pub(super) doubt: Doubt,
}

/// The newest entry of each stream that is known to be confirmed, or that was there before us.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Marks([Option<EntryId>; 3]);

impl Marks {
    pub(super) fn advance(&mut self, kind: Kind, id: EntryId) {
        if let Some(mark) = place(kind).and_then(|place| self.0.get_mut(place)) {
            *mark = (*mark).max(Some(id));
        }
    }

    pub(super) fn merge(&mut self, newer: &Self) {
        for (mark, newer) in self.0.iter_mut().zip(&newer.0) {
            *mark = (*mark).max(*newer);
        }
    }

    pub(super) fn of(&self, kind: Kind) -> Option<EntryId> {
        self.0.get(place(kind)?).copied().flatten()
    }
}

fn place(kind: Kind) -> Option<usize> {
    match kind {
        Kind::Frame => Some(0),
        Kind::CallEnd => Some(1),
        Kind::CallEvent => Some(2),
        Kind::Metadata => None,
    }
}

/// A connection as the server knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    run_id: String,
    client_id: String,
    address: String,
}

/// Whether a connection can still deliver something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fenced {
    Yes,
    /// The server does not let us make sure.
    Unknown,
}

impl Identity {
    /// Asks the server; `None` where it does not let us ask.
    pub(super) async fn of(link: &mut Link) -> Result<Option<Self>, LinkError> {
        let client = text(&link.request(cmd("CLIENT").arg("INFO")).await?);
        let server = text(&link.request(cmd("INFO").arg("server")).await?);
        let (Some(client), Some(server)) = (client, server) else {
            return Ok(None);
        };
        let field = |name: &str| {
            client
                .split(' ')
                .find_map(|field| field.strip_prefix(name))
                .map(str::to_owned)
        };
        let run_id = server.lines().find_map(|line| line.strip_prefix("run_id:"));
        let (Some(client_id), Some(address), Some(run_id)) = (field("id="), field("addr="), run_id)
        else {
            return Ok(None);
        };
        Ok(Some(Self {
            run_id: run_id.trim().to_owned(),
            client_id,
            address,
        }))
    }

    /// Makes sure that `self`, an older connection, delivers nothing any more.
    pub(super) async fn fence(&self, link: &mut Link) -> Result<Fenced, LinkError> {
        let Some(here) = &link.identity else {
            return Ok(Fenced::Unknown);
        };
        if here.run_id != self.run_id {
            // The run that knew it is over, and all its connections with it.
            return Ok(Fenced::Yes);
        }
        let kill = cmd("CLIENT")
            .arg("KILL")
            .arg("ID")
            .arg(&self.client_id)
            .arg("ADDR")
            .arg(&self.address)
            .to_owned();
        Ok(match link.request(&kill).await? {
            Value::ServerError(_) => Fenced::Unknown,
            _ => Fenced::Yes,
        })
    }
}

fn text(value: &Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        Value::VerbatimString { text, .. } | Value::SimpleString(text) => Some(text.clone()),
        _ => None,
    }
}
