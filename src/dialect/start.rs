//! The `start` event: who is called what, and how the audio that follows is made.
//!
//! Both shapes are read: Exotel's with a `start` object and a `media_format` in it (or beside it), and the simple
//! dialect's flat one. Where both are there the object holds. What is valid is for `intake.rs` to say; this file only
//! collects. Invariant: what is kept is bounded, however much was sent.

use serde::de::MapAccess;

use super::scalar::{Loose, Scalar, Slots, fill, pass};
use crate::frame::clip;

/// A start, as declared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Start {
    pub call_sid: Option<String>,
    pub interaction_id: Option<String>,
    pub tenant_id: Option<String>,
    pub account_sid: Option<String>,
    pub stream_sid: Option<String>,
    pub from: Option<String>,
    pub to: Option<String>,
    /// Sample rates as written, the most specific first.
    pub rates: Vec<String>,
    pub encoding: Option<String>,
    pub custom_parameters: Parameters,
}

/// Names and values, few and short, no name twice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Adds one; beyond the limits it is cut or left out, and of one name the first stays.
    pub fn add(&mut self, name: &str, value: &str) {
        let name = clip(name, PARAMETER_NAME_BYTES_MAX);
        if self.0.len() < PARAMETERS_MAX && self.0.iter().all(|(known, _)| known != name) {
            let value = clip(value, PARAMETER_VALUE_BYTES_MAX);
            self.0.push((name.to_owned(), value.to_owned()));
        }
    }

    /// The first value under one of these names.
    pub fn find(&self, names: &[&str]) -> Option<&str> {
        let known =
            |(name, value): &&(String, String)| names.contains(&name.as_str()) && !value.is_empty();
        self.0.iter().find(known).map(|(_, value)| value.as_str())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes out a secret, so that it is neither published nor logged.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(known, _)| known != name);
    }
}

impl Start {
    pub(super) fn from_slots(flat: &StartSlots<'_>, nested: Option<&StartSlots<'_>>) -> Self {
        let pick = |slot: fn(&StartSlots<'_>) -> Option<String>| {
            nested.and_then(slot).or_else(|| slot(flat))
        };
        let mut rates: Vec<String> = Vec::new();
        let sources = [nested, Some(flat)].into_iter().flatten();
        rates.extend(
            sources
                .clone()
                .filter_map(|slots| slots.format.sample_rate.declared()),
        );
        rates.extend(
            sources
                .clone()
                .filter_map(|slots| slots.sample_rate.declared()),
        );
        let mut custom_parameters = Parameters::default();
        for (name, value) in sources.flat_map(|slots| slots.custom.0.iter()) {
            custom_parameters.add(name, value);
        }
        Self {
            call_sid: pick(|slots| slots.call_sid.owned()),
            interaction_id: pick(|slots| slots.interaction_id.owned()),
            tenant_id: pick(|slots| slots.tenant_id.owned()),
            account_sid: pick(|slots| slots.account_sid.owned()),
            stream_sid: pick(|slots| slots.stream_sid.owned()),
            from: pick(|slots| slots.from.owned()),
            to: pick(|slots| slots.to.owned()),
            rates,
            encoding: pick(|slots| slots.format.encoding.owned())
                .or_else(|| pick(|slots| slots.encoding.owned())),
            custom_parameters,
        }
    }
}

/// The members of a start, wherever they stand.
#[derive(Debug, Default)]
pub(super) struct StartSlots<'a> {
    pub(super) stream_sid: Scalar<'a>,
    call_sid: Scalar<'a>,
    interaction_id: Scalar<'a>,
    tenant_id: Scalar<'a>,
    account_sid: Scalar<'a>,
    from: Scalar<'a>,
    to: Scalar<'a>,
    sample_rate: Scalar<'a>,
    encoding: Scalar<'a>,
    format: FormatSlots<'a>,
    custom: CustomSlots,
}

impl<'de> Slots<'de> for StartSlots<'de> {
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let slot = match key {
            "stream_sid" | "streamSid" => &mut self.stream_sid,
            "call_sid" | "callSid" => &mut self.call_sid,
            "interaction_id" | "interactionId" => &mut self.interaction_id,
            "tenant_id" | "tenantId" => &mut self.tenant_id,
            "account_sid" | "accountSid" => &mut self.account_sid,
            "from" => &mut self.from,
            "to" => &mut self.to,
            "sample_rate" | "sampleRate" | "sample-rate" => &mut self.sample_rate,
            "encoding" => &mut self.encoding,
            "media_format" | "mediaFormat" => {
                self.format = map.next_value::<Loose<_>>()?.0;
                return Ok(());
            }
            "custom_parameters" | "customParameters" | "CustomParameters" => {
                self.custom = map.next_value::<Loose<_>>()?.0;
                return Ok(());
            }
            _ => return pass(map),
        };
        fill(slot, map)
    }
}

#[derive(Debug, Default)]
struct FormatSlots<'a> {
    encoding: Scalar<'a>,
    sample_rate: Scalar<'a>,
}

impl<'de> Slots<'de> for FormatSlots<'de> {
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        match key {
            "encoding" => fill(&mut self.encoding, map),
            "sample_rate" | "sampleRate" => fill(&mut self.sample_rate, map),
            _ => pass(map),
        }
    }
}

/// Custom parameters: an object, or a string that holds one, or a query string.
#[derive(Debug, Default)]
struct CustomSlots(Vec<(String, String)>);

impl<'de> Slots<'de> for CustomSlots {
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error> {
        let value = match map.next_value::<Scalar<'de>>()? {
            Scalar::Flag(flag) => Some(flag.to_string()),
            value => value.owned(),
        };
        if let Some(text) = value
            && self.0.len() < PARAMETERS_MAX
        {
            // As everywhere in JSON, of repeated members the last holds.
            self.0.retain(|(known, _)| known != key);
            self.0.push((key.to_owned(), text));
        }
        Ok(())
    }

    fn put_text(&mut self, text: &str) {
        if text.trim_start().starts_with('{') {
            if let Ok(Loose(parsed)) = serde_json::from_str::<Loose<CustomSlots>>(text) {
                *self = parsed;
            }
            return;
        }
        let pairs = form_urlencoded::parse(text.trim_start_matches('?').as_bytes());
        self.0.extend(
            pairs
                .take(PARAMETERS_MAX)
                .map(|(name, value)| (name.into_owned(), value.into_owned())),
        );
    }
}

/// Exotel passes on 3 parameters of 256 characters in all; custom clients may send more.
const PARAMETERS_MAX: usize = 32;
const PARAMETER_NAME_BYTES_MAX: usize = 128;
const PARAMETER_VALUE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::{
        super::{Inbound, decode_text},
        *,
    };

    fn start(text: &str) -> Start {
        match decode_text(text) {
            Ok(Inbound::Start(start)) => *start,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn exotels_real_start_is_read() {
        let start = start(
            r#"{"event":"start","stream_sid":"3357459ca698d8c765bac10b0ec418bl","sequence_number":"1","start":{"stream_sid":"3357459ca698d8c765bac10b0ec418bl","call_sid":"b0c8aea60aceb0007fc5a1bb75c218bl","account_sid":"someacct1","from":"0999XXXXXXX","to":"0444XXXXXXX","media_format":{"encoding":"base64","sample_rate":"8000","bit_rate":"128kbps"}}}"#,
        );
        assert_eq!(
            start.call_sid.as_deref(),
            Some("b0c8aea60aceb0007fc5a1bb75c218bl")
        );
        assert_eq!(start.account_sid.as_deref(), Some("someacct1"));
        assert_eq!(start.from.as_deref(), Some("0999XXXXXXX"));
        assert_eq!(start.rates, ["8000"]);
        assert_eq!(start.encoding.as_deref(), Some("base64"));
        assert!(start.custom_parameters.is_empty());
    }

    #[test]
    fn the_flat_and_the_camel_case_shapes_are_read() {
        let simple = start(
            r#"{"event":"start","interaction_id":"int-123","tenant_id":"tenant-abc","sample_rate":24000,"encoding":"pcm16"}"#,
        );
        assert_eq!(simple.interaction_id.as_deref(), Some("int-123"));
        assert_eq!(simple.rates, ["24000"]);

        let camel = start(
            r#"{"event":"start","streamSid":"MZ1","mediaFormat":{"encoding":"mulaw","sampleRate":16000},"start":{"callSid":7,"accountSid":"AC1","sample_rate":"8k","customParameters":{"a":1}}}"#,
        );
        assert_eq!(camel.call_sid.as_deref(), Some("7"));
        assert_eq!(camel.rates, ["16000", "8k"]);
        assert_eq!(camel.encoding.as_deref(), Some("mulaw"));
        assert_eq!(camel.custom_parameters.find(&["a"]), Some("1"));
    }

    #[test]
    fn custom_parameters_come_as_object_json_text_or_query() {
        for given in [
            r#"{"token":"t","x":null}"#,
            r#""{\"token\":\"t\"}""#,
            r#""token=t&x=""#,
        ] {
            let start = start(&format!(
                r#"{{"event":"start","start":{{"custom_parameters":{given}}}}}"#
            ));
            assert_eq!(
                start.custom_parameters.find(&["token"]),
                Some("t"),
                "{given}"
            );
        }
        assert!(
            start(r#"{"event":"start","start":{"custom_parameters":null}}"#)
                .custom_parameters
                .is_empty()
        );
    }

    #[test]
    fn thousands_of_parameters_are_bounded() {
        let many: Vec<String> = (0..5000)
            .map(|i| format!(r#""k{i}":"{}""#, "v".repeat(30)))
            .collect();
        let start = start(&format!(
            r#"{{"event":"start","start":{{"custom_parameters":{{{}}}}}}}"#,
            many.join(",")
        ));
        assert_eq!(start.custom_parameters.iter().count(), PARAMETERS_MAX);
    }

    #[test]
    fn no_custom_parameter_is_there_twice_or_lost_for_its_type() {
        let start = start(
            r#"{"event":"start","custom_parameters":{"a":"flat","c":"3"},"start":{"custom_parameters":{"a":"old","b":true,"a":"new","d":null,"e":[1]}}}"#,
        );
        let found: Vec<_> = start.custom_parameters.iter().collect();
        assert_eq!(found, [("b", "true"), ("a", "new"), ("c", "3")]);
    }
}
