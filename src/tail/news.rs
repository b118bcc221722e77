//! What an entry is: a frame, or something that happened in a call.
//!
//! How frames are read is `published.rs`'s subject. Ends and events of calls are read without knowing all of them: whatever
//! they carry beyond the names is kept as it is.

use serde_json::{Map, Value};

use super::Entry;
use crate::{
    journal::fields::{self, FieldsError},
    published::{Frame, UnreadableEntry},
    record::Kind,
};

/// What an entry is.
#[derive(Debug)]
pub enum News<'a> {
    Frame(Frame<'a>),
    Event(Event),
}

/// Something that happened in a call (4.3, 4.4).
#[derive(Debug)]
pub struct Event {
    /// `call_end`, or the event's type.
    pub kind: String,
    pub tenant_id: String,
    pub interaction_id: String,
    pub timestamp_ms: u64,
    /// Whatever else it says.
    pub rest: Map<String, Value>,
}

/// Which calls to show.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub call: Option<String>,
    pub tenant: Option<String>,
}

/// Why an entry is passed over.
#[derive(Debug, thiserror::Error)]
pub enum NewsError {
    #[error(transparent)]
    Fields(#[from] FieldsError),
    #[error(transparent)]
    Content(#[from] UnreadableEntry),
}

impl<'a> News<'a> {
    pub fn read(entry: &Entry<'a>) -> Result<Self, NewsError> {
        let mut pairs = fields::pairs(entry.fields)?;
        if entry.kind == Kind::Frame {
            return Ok(Self::Frame(Frame::read(pairs)?));
        }
        let data = pairs.find(|(name, _)| *name == b"data");
        let (_, data) = data.ok_or(UnreadableEntry::Field("data"))?;
        let mut rest: Map<String, Value> =
            serde_json::from_slice(data).map_err(UnreadableEntry::Json)?;
        let mut text = |name: &'static str| match rest.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(UnreadableEntry::Field(name)),
        };
        let kind = match entry.kind {
            Kind::CallEnd => "call_end".to_owned(),
            _ => text("type")?,
        };
        let (tenant_id, interaction_id) = (text("tenant_id")?, text("interaction_id")?);
        let timestamp_ms = rest.remove("timestamp_ms");
        Ok(Self::Event(Event {
            kind,
            tenant_id,
            interaction_id,
            timestamp_ms: timestamp_ms.and_then(|ms| ms.as_u64()).unwrap_or(0),
            rest,
        }))
    }

    pub fn tenant_id(&self) -> &str {
        match self {
            Self::Frame(frame) => &frame.tenant_id,
            Self::Event(event) => &event.tenant_id,
        }
    }

    pub fn interaction_id(&self) -> &str {
        match self {
            Self::Frame(frame) => &frame.interaction_id,
            Self::Event(event) => &event.interaction_id,
        }
    }
}

impl Filter {
    pub fn lets_through(&self, news: &News<'_>) -> bool {
        let fits = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|one| one == is);
        fits(&self.call, news.interaction_id()) && fits(&self.tenant, news.tenant_id())
    }
}
