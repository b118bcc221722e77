//! How a call begins on a connection: by a start, by audio without one, or by a start that names it anew (3.6).

use super::{
    Current, Effect, Intake, Opening, Refusal,
    format::{self, Format},
};
use crate::{
    call::{About, CallName, Reason},
    dialect::start::Start,
    frame::{ID_BYTES_MAX, Sender, clip},
    intake::EVENT_TEXT_BYTES_MAX,
    record::Detail,
};

impl Intake {
    pub(super) fn take_start(&mut self, mut start: Start) {
        start.custom_parameters.remove("token");
        let mut warnings = Vec::new();
        let opened = self.name_call(&start, &mut warnings).and_then(|name| {
            let format = format::resolve(&self.facts, Some(&start), &mut warnings)?;
            Ok((name, format))
        });
        self.effects.extend(warnings.into_iter().map(Effect::Warn));
        match opened {
            Ok((name, format)) => self.open_started(name, format, start),
            Err(refusal) => self.fail(refusal),
        }
    }

    fn open_started(&mut self, name: CallName, format: Format, start: Start) {
        let ids = [&start.call_sid, &start.interaction_id];
        let named = ids.contains(&&Some(name.interaction_id.clone()));
        let same = match &mut self.current {
            Some(current) if current.name == name && current.started => {
                current.named |= named;
                self.answer_start();
                return;
            }
            Some(current) if current.name == name => true,
            Some(current) if current.named => {
                self.effects.push_back(Effect::End(Reason::Restarted));
                false
            }
            Some(current) => {
                let (from, to) = (
                    current.name.interaction_id.clone(),
                    name.interaction_id.clone(),
                );
                self.effects
                    .push_back(Effect::Event(Box::new(Detail::Renamed { from, to })));
                self.effects.push_back(Effect::End(Reason::Renamed));
                false
            }
            None => false,
        };
        self.stream_sid = start
            .stream_sid
            .clone()
            .filter(|sid| sid.len() <= ID_BYTES_MAX)
            .or(self.stream_sid.take());
        let mut custom_parameters = start.custom_parameters;
        for (parameter, value) in self.facts.hints.parameters.iter() {
            custom_parameters.add(parameter, value);
        }
        let bounded = |text: Option<String>| text.map(|text| clip(&text, ID_BYTES_MAX).to_owned());
        let about = About {
            call_sid: bounded(start.call_sid),
            stream_sid: self.stream_sid.clone(),
            from: bounded(start.from),
            to: bounded(start.to),
        };
        let event = Detail::Start {
            call_sid: about.call_sid.clone(),
            stream_sid: about.stream_sid.clone(),
            from: about.from.clone(),
            to: about.to.clone(),
            sample_rate: format.sample_rate,
            encoding: clip(&format.declared, EVENT_TEXT_BYTES_MAX).to_owned(),
            custom_parameters,
        };
        self.effects.push_back(Effect::Open(Opening {
            name: name.clone(),
            start: Some(Box::new((about, event))),
        }));
        self.answer_start();
        let keeps_samples = same
            && self
                .current
                .as_ref()
                .is_some_and(|current| current.format.encoding == format.encoding);
        self.begin(
            Current {
                name,
                format,
                started: true,
                named,
            },
            keeps_samples,
        );
    }

    fn answer_start(&mut self) {
        if self.facts.sender == Sender::Custom {
            self.effects.push_back(Effect::Started);
        }
    }

    fn begin(&mut self, current: Current, keeps_samples: bool) {
        if !keeps_samples {
            self.tracks.clear();
        }
        self.current = Some(current);
        self.generation = self.generation.wrapping_add(1);
    }

    /// The call that audio or events without a start belong to; `None` if the peer has been turned away.
    pub(super) fn ensure_call(&mut self) -> Option<&Current> {
        if self.current.is_none() {
            let mut warnings = Vec::new();
            let opened = self
                .name_call(&Start::default(), &mut warnings)
                .and_then(|name| Ok((name, format::resolve(&self.facts, None, &mut warnings)?)));
            self.effects.extend(warnings.into_iter().map(Effect::Warn));
            match opened {
                Ok((name, format)) => {
                    self.effects.push_back(Effect::Open(Opening {
                        name: name.clone(),
                        start: None,
                    }));
                    self.begin(
                        Current {
                            name,
                            format,
                            started: false,
                            named: false,
                        },
                        false,
                    );
                }
                Err(refusal) => self.fail(refusal),
            }
        }
        self.current.as_ref()
    }

    fn name_call(&self, start: &Start, warnings: &mut Vec<String>) -> Result<CallName, Refusal> {
        self.facts.name_call(
            start,
            self.current.as_ref().map(|current| &current.name),
            warnings,
        )
    }
}
