//! PEM, the text form of keys: finding blocks in a text, and writing one.
//!
//! What a block holds is for `keys` and `signing` to say. Reading does not depend on line ends, because settings often
//! lose or change them on their way. Invariant: a block's body is decoded only when asked for, never printed.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// One `-----BEGIN …-----` to `-----END …-----`.
pub(crate) struct Block<'a> {
    /// Such as `PUBLIC KEY`: upper-case letters, digits and spaces, so it may be shown.
    pub(crate) label: &'a str,
    body: &'a str,
}

/// The text has a block that is not closed, or whose label is none.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Block<'_> {
    /// The DER bytes; `None` if the body is not base64.
    pub(crate) fn der(&self) -> Option<Vec<u8>> {
        let base64: String = self
            .body
            .chars()
            .filter(|c| !c.is_ascii_whitespace())
            .collect();
        STANDARD.decode(base64).ok().filter(|der| !der.is_empty())
    }

    pub(crate) fn is_private_key(&self) -> bool {
        self.label.ends_with("PRIVATE KEY")
    }

    /// Protected by a passphrase: by its label (PKCS#8), or by a header in the body (older forms).
    pub(crate) fn is_encrypted(&self) -> bool {
        self.label.contains("ENCRYPTED") || self.body.contains("ENCRYPTED")
    }
}

/// All blocks, in order. Text around them is ignored, as tools put explanations there.
pub(crate) fn blocks(text: &str) -> Result<Vec<Block<'_>>, Broken> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((_, opened)) = rest.split_once("-----BEGIN ") {
        let (label, opened) = opened.split_once("-----").ok_or(Broken)?;
        if !is_label(label) {
            return Err(Broken);
        }
        let end = format!("-----END {label}-----");
        let (body, after) = opened.split_once(&end).ok_or(Broken)?;
        found.push(Block { label, body });
        rest = after;
    }
    Ok(found)
}

/// One block with lines of 64 characters, as every other tool writes it.
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let mut text = format!("-----BEGIN {label}-----");
    for (i, c) in STANDARD.encode(der).chars().enumerate() {
        if i % LINE_CHARS == 0 {
            text.push('\n');
        }
        text.push(c);
    }
    text + "\n-----END " + label + "-----\n"
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= LABEL_BYTES_MAX
        && label
            .bytes()
            .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b' ')
}

const LINE_CHARS: usize = 64;
const LABEL_BYTES_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn finds_blocks_whatever_became_of_their_lines() {
        let pem = encode("PUBLIC KEY", &[7; 100]);
        assert!(pem.lines().all(|line| line.len() <= 64));
        for text in [
            pem.clone(),
            pem.replace('\n', "\r\n"),
            pem.replace('\n', " "),
            pem.replace('\n', ""),
        ] {
            let twice = format!("subject=/CN=test\n{text}{text}\n");
            let found = blocks(&twice).unwrap();
            assert_eq!(found.len(), 2);
            assert!(found.iter().all(|block| block.label == "PUBLIC KEY"));
            assert_eq!(found[1].der().unwrap(), [7; 100]);
        }
    }

    #[test]
    fn refuses_what_is_not_closed() {
        for text in [
            "-----BEGIN PUBLIC KEY-----\nAAAA\n",
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END CERTIFICATE-----",
            "-----BEGIN PUBLIC KEY",
            "-----BEGIN hello-----\nAAAA\n-----END hello-----",
        ] {
            assert_eq!(blocks(text).err(), Some(Broken), "{text}");
        }
        assert!(blocks("no key at all").unwrap().is_empty());
        let text = "-----BEGIN PUBLIC KEY-----\n\u{e9}?\n-----END PUBLIC KEY-----";
        assert_eq!(blocks(text).unwrap()[0].der(), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(der in proptest::collection::vec(any::<u8>(), 1..500)) {
            let pem = encode("PRIVATE KEY", &der);
            let found = blocks(&pem).unwrap();
            prop_assert_eq!(found[0].der().unwrap(), der);
        }

        #[test]
        fn no_text_panics(text in "(-----(BEGIN|END) [A-Z ]{0,9}(-----)?|[A-Za-z+/=\n]|\\PC){0,30}") {
            if let Ok(found) = blocks(&text) {
                for block in found { drop(block.der()); }
            }
        }
    }
}
