//! Random numbers by position: the ChaCha8 stream (Bernstein 2008; 8 rounds, as Aumasson 2020 finds
//! enough).
//!
//! The words are those of `ChaCha8Rng` of the crate `rand_chacha`, which the trainer draws from, at
//! the same key, stream and position; a test compares them. That crate computes four blocks ahead
//! in vectors, which takes a device more stack and flash than these lines. Additions, rotations and
//! exclusive ors alone: every core computes the same words, and cores without a wide multiplication
//! are not slower for it.

/// The rounds are done in pairs.
const DOUBLE_ROUNDS: u32 = 4;
/// Words of a block.
const BLOCK: usize = 16;

/// One quarter of a round on four words of the state.
macro_rules! quarter_round {
    ($x:ident, $a:literal, $b:literal, $c:literal, $d:literal) => {
        $x[$a] = $x[$a].wrapping_add($x[$b]);
        $x[$d] = ($x[$d] ^ $x[$a]).rotate_left(16);
        $x[$c] = $x[$c].wrapping_add($x[$d]);
        $x[$b] = ($x[$b] ^ $x[$c]).rotate_left(12);
        $x[$a] = $x[$a].wrapping_add($x[$b]);
        $x[$d] = ($x[$d] ^ $x[$a]).rotate_left(8);
        $x[$c] = $x[$c].wrapping_add($x[$d]);
        $x[$b] = ($x[$b] ^ $x[$c]).rotate_left(7);
    };
}

/// Lower and upper half.
#[allow(clippy::cast_possible_truncation, reason = "halves are wanted")]
fn halves(value: u64) -> [u32; 2] {
    [value as u32, (value >> 32) as u32]
}

/// Block `counter` of a stream. The key is `seed`, and 0 behind it.
///
/// Cost: 416 additions, 384 exclusive ors and as many rotations for 16 words.
#[inline(never)]
fn block(seed: u64, stream: u64, counter: u64) -> [u32; BLOCK] {
    let ([k0, k1], [n0, n1], [c0, c1]) = (halves(seed), halves(stream), halves(counter));
    // "expand 32-byte k"
    let (e0, e1, e2, e3) = (0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574);
    let start = [e0, e1, e2, e3, k0, k1, 0, 0, 0, 0, 0, 0, c0, c1, n0, n1];
    let mut x = start;
    for _ in 0..DOUBLE_ROUNDS {
        quarter_round!(x, 0, 4, 8, 12);
        quarter_round!(x, 1, 5, 9, 13);
        quarter_round!(x, 2, 6, 10, 14);
        quarter_round!(x, 3, 7, 11, 15);
        quarter_round!(x, 0, 5, 10, 15);
        quarter_round!(x, 1, 6, 11, 12);
        quarter_round!(x, 2, 7, 8, 13);
        quarter_round!(x, 3, 4, 9, 14);
    }
    for (word, start) in x.iter_mut().zip(start) {
        *word = word.wrapping_add(start);
    }
    x
}

/// Words of a sample: those of components 0 to 65535.
const SAMPLE_BITS: u32 = 16;
/// Words of a block.
const BLOCK_BITS: u32 = 4;

/// The words of one sample, a word for each component, in order.
pub(crate) struct Words {
    seed: u64,
    input: u64,
    counter: u64,
    block: [u32; BLOCK],
    taken: usize,
}

impl Words {
    /// Of sample `sample` of input `input`: word `k` is that at position `sample · 2¹⁶ + k` of
    /// stream `input` under the key `seed`.
    pub(crate) fn new(seed: u64, input: u64, sample: u32) -> Self {
        Self {
            seed,
            input,
            counter: u64::from(sample) << (SAMPLE_BITS - BLOCK_BITS),
            block: [0; BLOCK],
            taken: BLOCK,
        }
    }

    /// The next word.
    #[inline]
    pub(crate) fn next(&mut self) -> u32 {
        if self.taken >= BLOCK {
            self.block = block(self.seed, self.input, self.counter);
            self.counter = self.counter.wrapping_add(1);
            self.taken = 0;
        }
        let word = self.block.get(self.taken).copied();
        self.taken = self.taken.wrapping_add(1);
        word.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

    /// Strombergson, "Test Vectors for the Stream Cipher ChaCha" (2013), TC1, 8 rounds: an all-zero
    /// 256-bit key and nonce.
    #[test]
    fn the_published_vector_is_met() {
        let expected = [
            0x3e, 0x00, 0xef, 0x2f, 0x89, 0x5f, 0x40, 0xd6, 0x7f, 0x5b, 0xb8, 0xe8, 0x1f, 0x09,
            0xa5, 0xa1, 0x2c, 0x84, 0x0e, 0xc3, 0xce, 0x9a, 0x7f, 0x3b, 0x18, 0x1b, 0xe1, 0x88,
            0xef, 0x71, 0x1a, 0x1e,
        ];
        let words = block(0, 0, 0);
        let bytes: std::vec::Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        assert_eq!(bytes[..32], expected);
    }

    #[test]
    fn the_words_are_those_of_the_trainers_generator() {
        let places = [
            (0, 0, 0),
            (1, 0, 0),
            (0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 7),
            (u64::MAX, u64::MAX, u32::MAX),
            (5, 1 << 33, 1 << 31),
        ];
        for (seed, input, sample) in places {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&seed.to_le_bytes());
            let mut rng = ChaCha8Rng::from_seed(key);
            rng.set_stream(input);
            rng.set_word_pos(u128::from(sample) << SAMPLE_BITS);
            let mut words = Words::new(seed, input, sample);
            for k in 0..70 {
                assert_eq!(words.next(), rng.next_u32(), "{seed} {input} {sample} {k}");
            }
        }
    }
}
