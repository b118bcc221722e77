//! The fields of a stream entry as Redis reads them on the wire: `$len\r\nbytes\r\n`, name and value in turn, exactly
//! as they go behind the `*` of an XADD. What the fields mean lives with whoever publishes them.
//!
//! Invariant: [`pairs`] looks at all of the bytes before it gives out any, so that a damaged entry is refused whole.

use super::RECORD_BYTES_MAX;

/// The name and value pairs of one entry.
#[derive(Debug, Clone)]
pub struct Pairs<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let (name, rest) = string(self.rest)?;
        let (value, rest) = string(rest)?;
        self.rest = rest;
        self.left = self.left.saturating_sub(1);
        Some((name, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for Pairs<'_> {}

/// Why the bytes of an entry are no fields.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FieldsError {
    #[error("the string at byte {at} is damaged or cut short")]
    Damaged { at: usize },
    #[error("the last field has a name but no value")]
    NoValue,
}

/// The pairs in `fields`.
pub fn pairs(fields: &[u8]) -> Result<Pairs<'_>, FieldsError> {
    let mut rest = fields;
    let mut strings = 0_usize;
    while !rest.is_empty() {
        let at = fields.len() - rest.len();
        (_, rest) = string(rest).ok_or(FieldsError::Damaged { at })?;
        strings += 1;
    }
    if strings % 2 == 1 {
        return Err(FieldsError::NoValue);
    }
    Ok(Pairs {
        rest: fields,
        left: strings / 2,
    })
}

/// The string at the front of `bytes`, and what follows it.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let bytes = bytes.strip_prefix(b"$")?;
    let digits = bytes
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let (number, rest) = bytes.split_at_checked(digits)?;
    // One way to write each number: what is read and encoded again is the same.
    if digits == 0 || digits > DIGITS_MAX || (digits > 1 && number.starts_with(b"0")) {
        return None;
    }
    let len = number
        .iter()
        .fold(0_usize, |len, digit| len * 10 + usize::from(digit - b'0'));
    if len > RECORD_BYTES_MAX {
        return None;
    }
    let (text, rest) = rest.strip_prefix(b"\r\n")?.split_at_checked(len)?;
    Some((text, rest.strip_prefix(b"\r\n")?))
}

/// `RECORD_BYTES_MAX` has 8 digits.
const DIGITS_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::record::push_pair;

    fn encoded(pairs: &[(Vec<u8>, Vec<u8>)]) -> Vec<u8> {
        let mut fields = Vec::new();
        for (name, value) in pairs {
            push_pair(&mut fields, name, value);
        }
        fields
    }

    #[test]
    fn a_pair_is_two_strings_of_the_protocol() {
        let mut fields = Vec::new();
        push_pair(&mut fields, b"data", b"{\r\n}");
        push_pair(&mut fields, b"twelve bytes", b"");
        assert_eq!(
            fields,
            b"$4\r\ndata\r\n$4\r\n{\r\n}\r\n$12\r\ntwelve bytes\r\n$0\r\n\r\n"
        );
        let read = pairs(&fields).unwrap();
        assert_eq!(read.len(), 2);
        assert_eq!(
            read.collect::<Vec<_>>(),
            [
                (&b"data"[..], &b"{\r\n}"[..]),
                (&b"twelve bytes"[..], &b""[..])
            ]
        );
    }

    #[test]
    fn damage_is_refused_whole() {
        for (damaged, error) in [
            (&b"$4\r\ndata\r\n"[..], FieldsError::NoValue),
            (
                b"$4\r\ndata\r\n$4\r\nabc\r\n",
                FieldsError::Damaged { at: 10 },
            ),
            (
                b"$4\r\ndata\r\n$04\r\nabcd\r\n",
                FieldsError::Damaged { at: 10 },
            ),
            (b"$-1\r\n", FieldsError::Damaged { at: 0 }),
            (b"$\r\n\r\n", FieldsError::Damaged { at: 0 }),
            (b"$+1\r\na\r\n", FieldsError::Damaged { at: 0 }),
            (b"$99999999\r\n", FieldsError::Damaged { at: 0 }),
            (
                b"$99999999999999999999999999\r\n",
                FieldsError::Damaged { at: 0 },
            ),
            (b"x", FieldsError::Damaged { at: 0 }),
        ] {
            assert_eq!(pairs(damaged).unwrap_err(), error, "{damaged:?}");
        }
        assert_eq!(pairs(b"").unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn what_was_pushed_is_read_back(written: Vec<(Vec<u8>, Vec<u8>)>) {
            let fields = encoded(&written);
            let read: Vec<_> = pairs(&fields).unwrap().map(|(n, v)| (n.to_vec(), v.to_vec())).collect();
            prop_assert_eq!(read, written);
        }

        #[test]
        fn what_reads_is_what_would_be_written(bytes in "[$0-3a\r\n]{0,40}") {
            if let Ok(read) = pairs(bytes.as_bytes()) {
                let again = encoded(&read.map(|(n, v)| (n.to_vec(), v.to_vec())).collect::<Vec<_>>());
                prop_assert_eq!(again, bytes.as_bytes());
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            if let Ok(read) = pairs(&bytes) {
                prop_assert_eq!(read.len(), read.count());
            }
        }
    }
}
