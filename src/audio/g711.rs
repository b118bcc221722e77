//! ITU-T G.711: the µ-law and A-law of the telephone network, to and from 16-bit samples.
//!
//! Which law a stream speaks is decided elsewhere. Invariant: decoding is bit-exact to the recommendation's tables, on the
//! 16-bit scale (its 14-bit µ-law values times 4, its 13-bit A-law values times 8), and encoding a decoded value gives the
//! code back.

/// One of the two laws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Law {
    Mu,
    A,
}

impl Law {
    /// The sample that a code stands for.
    pub fn decode(self, code: u8) -> i16 {
        i16::from_le_bytes(pair(self.table(), code))
    }

    /// The code whose interval the sample lies in.
    pub fn encode(self, sample: i16) -> u8 {
        match self {
            Self::Mu => encode_mu(sample),
            Self::A => encode_a(sample),
        }
    }

    fn table(self) -> &'static [[u8; 2]; 256] {
        match self {
            Self::Mu => &MU_TABLE,
            Self::A => &A_TABLE,
        }
    }
}

/// Appends the little-endian PCM16 of `codes` to `out`: two bytes for each.
pub fn decode_into(law: Law, codes: &[u8], out: &mut Vec<u8>) {
    let table = law.table();
    let before = out.len();
    out.resize(before + codes.len() * 2, 0);
    let (_, fresh) = out.split_at_mut(before);
    let (pairs, _) = fresh.as_chunks_mut::<2>();
    for (place, code) in pairs.iter_mut().zip(codes) {
        *place = pair(table, *code);
    }
}

/// Appends the codes of `samples` to `out`: one byte for each.
pub fn encode_into(law: Law, samples: &[i16], out: &mut Vec<u8>) {
    match law {
        Law::Mu => out.extend(samples.iter().copied().map(encode_mu)),
        Law::A => out.extend(samples.iter().copied().map(encode_a)),
    }
}

#[expect(
    clippy::indexing_slicing,
    reason = "a byte cannot point outside a table of 256"
)]
fn pair(table: &[[u8; 2]; 256], code: u8) -> [u8; 2] {
    table[usize::from(code)]
}

/// The inverted code is sign, segment and step; the magnitude is `(2 · step + 33) · 2^segment − 33` on a 14-bit scale.
const fn decode_mu(code: u8) -> i16 {
    let code = !code;
    let segment = (code >> 4) & 0x07;
    let step = (code & 0x0F) as i16;
    let magnitude = (((2 * step + 33) << segment) - 33) * 4;
    if code & 0x80 == 0 {
        magnitude
    } else {
        -magnitude
    }
}

/// With the even bits inverted, a set sign bit is positive; the first two segments share one step size.
const fn decode_a(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = (code >> 4) & 0x07;
    let step = (code & 0x0F) as i16;
    let magnitude = if segment == 0 {
        (2 * step + 1) * 8
    } else {
        ((2 * step + 33) << (segment - 1)) * 8
    };
    if code & 0x80 == 0 {
        -magnitude
    } else {
        magnitude
    }
}

/// The bias of 132 (33 on the 14-bit scale) makes every segment begin at a power of two, so the leading one names it.
fn encode_mu(sample: i16) -> u8 {
    let biased = magnitude(sample).min(MU_CLIP) + 132;
    let segment = biased.ilog2() - 7;
    let step = (biased >> (segment + 3)) & 0x0F;
    let sign = if sample < 0 { 0x80 } else { 0 };
    !(sign | low_byte(segment << 4 | step))
}

fn encode_a(sample: i16) -> u8 {
    // Sixteen to a step in the first two segments, then twice as many in each.
    let steps = magnitude(sample) >> 4;
    let code = if steps < 32 {
        steps
    } else {
        let segment = steps.ilog2() - 3;
        let step = (steps >> (segment - 1)) & 0x0F;
        segment << 4 | step
    };
    let sign = if sample < 0 { 0 } else { 0x80 };
    (sign | low_byte(code)) ^ 0x55
}

/// The complement mirrors the intervals around −½, so that a negative sample has the code of its mirror image.
fn magnitude(sample: i16) -> u32 {
    u32::from(if sample < 0 { !sample } else { sample }.unsigned_abs())
}

fn low_byte(code: u32) -> u8 {
    let [low, ..] = code.to_le_bytes();
    low
}

#[expect(
    clippy::indexing_slicing,
    reason = "the loop ends with the table; an iterator cannot be used in a constant"
)]
const fn table(law: Law) -> [[u8; 2]; 256] {
    let mut table = [[0; 2]; 256];
    let mut code = 0_u8;
    loop {
        let sample = match law {
            Law::Mu => decode_mu(code),
            Law::A => decode_a(code),
        };
        table[code as usize] = sample.to_le_bytes();
        if code == u8::MAX {
            return table;
        }
        code += 1;
    }
}

static MU_TABLE: [[u8; 2]; 256] = table(Law::Mu);
static A_TABLE: [[u8; 2]; 256] = table(Law::A);

/// The largest magnitude that µ-law has an interval for: 8158 on the 14-bit scale, with the two bits below it.
const MU_CLIP: u32 = 8158 * 4 + 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes_the_reference_values() {
        for (code, sample) in [
            (0x00, -32124),
            (0x01, -31100),
            (0x0F, -16764),
            (0x10, -15996),
            (0x40, -1884),
            (0x7E, -8),
            (0x7F, 0),
            (0x80, 32124),
            (0x8F, 16764),
            (0xBF, 1980),
            (0xC0, 1884),
            (0xEF, 132),
            (0xF0, 120),
            (0xFE, 8),
            (0xFF, 0),
        ] {
            assert_eq!(Law::Mu.decode(code), sample, "µ-law {code:#04x}");
        }
        for (code, sample) in [
            (0x00, -5504),
            (0x01, -5248),
            (0x2A, -32256),
            (0x55, -8),
            (0x54, -24),
            (0x7A, -1008),
            (0x80, 5504),
            (0xAA, 32256),
            (0xAB, 31232),
            (0xD4, 24),
            (0xD5, 8),
            (0xC5, 264),
        ] {
            assert_eq!(Law::A.decode(code), sample, "A-law {code:#04x}");
        }
    }

    #[test]
    fn every_code_comes_back() {
        for code in 0..=u8::MAX {
            assert_eq!(Law::A.encode(Law::A.decode(code)), code);
            // µ-law has two zeros; a sample of 0 is the positive one.
            let expected = if code == 0x7F { 0xFF } else { code };
            assert_eq!(Law::Mu.encode(Law::Mu.decode(code)), expected);
        }
    }

    #[test]
    fn every_sample_lies_within_its_step() {
        for law in [Law::Mu, Law::A] {
            let mut last = i16::MIN;
            for sample in i16::MIN..=i16::MAX {
                let code = law.encode(sample);
                let heard = law.decode(code);
                let segment = u32::from(match law {
                    Law::Mu => !code,
                    Law::A => code ^ 0x55,
                }) >> 4
                    & 7;
                let step = match law {
                    Law::Mu => 8 << segment,
                    Law::A => 16 << segment.saturating_sub(1),
                };
                let clipped = match law {
                    Law::Mu => i32::from(sample).clamp(-32636, 32635),
                    Law::A => i32::from(sample),
                };
                let error = (clipped - i32::from(heard)).abs();
                assert!(error <= step / 2, "{law:?} {sample} heard as {heard}");
                assert!(heard >= last, "{law:?} is not monotonic at {sample}");
                last = heard;
            }
        }
    }

    #[test]
    fn appends_in_order_and_leaves_what_was_there() {
        let codes: Vec<u8> = (0..=u8::MAX).rev().collect();
        let samples: Vec<i16> = codes.iter().map(|code| Law::A.decode(*code)).collect();
        let mut pcm = vec![1, 2, 3];
        decode_into(Law::A, &codes, &mut pcm);
        assert_eq!(pcm[..3], [1, 2, 3]);
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        assert_eq!(pcm[3..], bytes);
        let mut again = vec![9];
        encode_into(Law::A, &samples, &mut again);
        assert_eq!((again[0], &again[1..]), (9, &codes[..]));
    }
}
