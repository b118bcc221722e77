//! JSON values of which only the content counts: `"8000"` and `8000` read the same, and a wrong type reads as nothing.
//!
//! Exotel's documents contradict each other about types, and one strict field would end a call. So no field here
//! can fail to parse; the only errors left are those of JSON itself. Text is borrowed where JSON allows it.

use std::{borrow::Cow, fmt, marker::PhantomData};

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// A string or a number, and the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Scalar<'a> {
    /// Missing or null.
    #[default]
    Nothing,
    /// There, but neither a string nor a number nor a truth value.
    Odd,
    Flag(bool),
    Text(Cow<'a, str>),
    Number(f64),
    Integer(u64),
}

impl<'a> Scalar<'a> {
    /// As text; empty text counts as nothing.
    pub fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Nothing | Self::Odd | Self::Flag(_) => None,
            Self::Text(text) if text.is_empty() => None,
            Self::Text(text) => Some(Cow::Borrowed(text)),
            Self::Number(number) => Some(Cow::Owned(number.to_string())),
            Self::Integer(integer) => Some(Cow::Owned(integer.to_string())),
        }
    }

    /// As text that outlives the message.
    pub fn owned(&self) -> Option<String> {
        self.text().map(Cow::into_owned)
    }

    /// As a whole number that is not negative.
    pub fn integer(&self) -> Option<u64> {
        match self {
            Self::Integer(integer) => Some(*integer),
            Self::Text(text) => text.parse().or_else(|_| text.trim().parse()).ok(),
            Self::Number(number) => whole(*number),
            Self::Nothing | Self::Odd | Self::Flag(_) => None,
        }
    }

    /// Like [`Scalar::owned`], but also where it is there and cannot be read: as text that means nothing.
    pub fn declared(&self) -> Option<String> {
        (*self != Self::Nothing).then(|| self.owned().unwrap_or_default())
    }

    pub fn is_some(&self) -> bool {
        *self != Self::Nothing
    }

    /// This, unless it is nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        if self.is_some() { self } else { other }
    }

    /// As text that lives as long as the message; empty text counts as nothing.
    pub fn into_text(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Text(_) => None,
            number => number.owned().map(Cow::Owned),
        }
    }

    /// The string itself, borrowed from the message unless it had escapes; `None` for anything but a string.
    pub fn into_string(self) -> Option<Cow<'a, str>> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }
}

impl<'de> Deserialize<'de> for Scalar<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor)
    }
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_u64<E>(self, integer: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Integer(integer))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "a negative number is only ever shown"
    )]
    fn visit_i64<E>(self, integer: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(integer as f64))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Number(number))
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Flag(flag))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Nothing)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Odd)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Odd)
    }
}

/// A JSON object whose known members fill slots. Unknown members are passed over, of repeated ones the last
/// that says something holds, and whatever is not an object leaves every slot empty.
pub trait Slots<'de>: Default {
    /// Stores the member's value, which must be taken from `map` (or ignored) exactly once.
    fn put<A: MapAccess<'de>>(&mut self, key: &str, map: &mut A) -> Result<(), A::Error>;

    /// Called for a string where the object was expected.
    fn put_text(&mut self, _text: &str) {}
}

/// Deserializes any [`Slots`].
#[derive(Debug, Default)]
pub struct Loose<T>(pub T);

impl<'de, T: Slots<'de>> Deserialize<'de> for Loose<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor(PhantomData))
    }
}

struct LooseVisitor<T>(PhantomData<T>);

impl<'de, T: Slots<'de>> Visitor<'de> for LooseVisitor<T> {
    type Value = Loose<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut slots = T::default();
        while let Some(key) = map.next_key::<Scalar<'de>>()? {
            slots.put(&key.text().unwrap_or_default(), &mut map)?;
        }
        Ok(Loose(slots))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let mut slots = T::default();
        slots.put_text(text);
        Ok(Loose(slots))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Loose::default_slots())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Loose::default_slots())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Loose::default_slots())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Loose::default_slots())
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Loose::default_slots())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::default_slots())
    }
}

impl<'de, T: Slots<'de>> Loose<T> {
    fn default_slots() -> Self {
        Loose(T::default())
    }
}

/// `40.0` is 40 to whoever writes JSON.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "whole and in range, as was just looked up"
)]
fn whole(number: f64) -> Option<u64> {
    let is_whole = number.fract() == 0.0 && (0.0..=WHOLE_MAX).contains(&number);
    is_whole.then_some(number as u64)
}

/// 2^53: beyond it a float no longer tells neighbours apart.
const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;

/// Puts the next value into `slot` unless it says nothing.
pub fn fill<'de, A: MapAccess<'de>>(slot: &mut Scalar<'de>, map: &mut A) -> Result<(), A::Error> {
    let value = map.next_value::<Scalar<'de>>()?;
    if value.is_some() {
        *slot = value;
    }
    Ok(())
}

/// Takes the next value and forgets it.
pub fn pass<'de, A: MapAccess<'de>>(map: &mut A) -> Result<(), A::Error> {
    map.next_value::<IgnoredAny>().map(|_| ())
}
