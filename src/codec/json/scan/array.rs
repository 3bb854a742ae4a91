//! Arrays of numbers, by vector instructions where the CPU has them.
//!
//! Read one after the other, a number has to wait for the end of the one before. Here the ends of all are found first, 64
//! bytes at a time; then each is read backwards from its end, in one vector, so that the CPU can work on several at once.

use super::Cursor;

/// How many places more than there are items [`Cursor::numbers`] needs for their ends: those of one block.
pub(in crate::codec::json) const BLOCK: usize = 64;

/// As many bytes as a number is read from: what is before its end must be there.
pub(in crate::codec::json) const WINDOW: usize = 16;

impl Cursor<'_> {
    /// Reads numbers into `row`, from the item that starts here on, and stops behind the last one whose text is of the
    /// usual kind (up to 15 bytes without its sign, no exponent), with at most a space before it and a comma or the
    /// array's end at once behind it. Returns how many: none at all is always right, since [`Cursor::number`] knows the
    /// others. `ends` is scratch.
    #[inline]
    pub(in crate::codec::json) fn numbers(&mut self, row: &mut [f64], ends: &mut [u32]) -> usize {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("lzcnt") {
            // SAFETY: the CPU was just seen to have these instructions, and that is all that the function asks for.
            let (count, at) = unsafe { avx2::numbers(self.bytes, self.at, row, ends) };
            self.at = at;
            return count;
        }
        let _ = (row, ends);
        0
    }
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use super::{BLOCK, WINDOW};

    /// How a text of some length with a point at some place becomes digits, and these a number.
    #[derive(Clone, Copy)]
    #[repr(C, align(32))]
    struct Shape {
        /// Moves the digits to the end of the vector, without the point, and zeros before them.
        shuffle: [u8; WINDOW],
        /// What the digits are to be divided by.
        power: f64,
        /// The least that the digits may stand for, since a zero that leads others isn't JSON; an infinity where the
        /// text is no number.
        least: f64,
    }

    /// That of a text that is no number.
    const NO_NUMBER: Shape = Shape { shuffle: [0x80; WINDOW], power: 1.0, least: f64::INFINITY };

    /// By the length of the text, and by the number of bytes behind its last point; as many as the length, or more, if
    /// it has none.
    static SHAPES: [[Shape; 32]; WINDOW] = {
        let mut shapes = [[NO_NUMBER; 32]; WINDOW];
        let mut length = 1;
        while length < WINDOW {
            let mut behind = 0;
            while behind < 32 {
                shapes[length][behind] = shape(length, behind);
                behind += 1;
            }
            length += 1;
        }
        shapes
    };

    const fn shape(length: usize, behind_point: usize) -> Shape {
        let mut shape = NO_NUMBER;
        let has_point = behind_point < length;
        let whole = if has_point { length - behind_point - 1 } else { length };
        if whole == 0 || behind_point == 0 {
            return shape;
        }
        let (mut from, mut to) = (0, WINDOW);
        while from < length {
            if !(has_point && from == behind_point) {
                to -= 1;
                shape.shuffle[to] = (WINDOW - 1 - from) as u8;
                if has_point && from < behind_point {
                    shape.power *= 10.0;
                }
            }
            from += 1;
        }
        shape.least = 0.0;
        if whole > 1 {
            // All digits together: 10 for two digits, and a power more for each one behind the point.
            shape.least = shape.power;
            let mut digit = 1;
            while digit < whole {
                shape.least *= 10.0;
                digit += 1;
            }
        }
        shape
    }

    /// [`super::Cursor::numbers`], and where the cursor is then.
    #[target_feature(enable = "avx2,bmi1,lzcnt")]
    pub(super) fn numbers(bytes: &[u8], at: usize, row: &mut [f64], ends: &mut [u32]) -> (usize, usize) {
        let found = separators(bytes, at, row.len(), ends);
        let (mut start, mut count, mut behind) = (at, 0, at);
        for (value, &end) in row.iter_mut().zip(&ends[..found]) {
            let end = end as usize;
            if count > 0 && bytes.get(behind) != Some(&b',') {
                break;
            }
            let Some(window) = bytes.get(..end).and_then(|before| before.last_chunk()) else { break };
            if bytes.get(start) == Some(&b' ') {
                start += 1;
            }
            let is_negative = bytes.get(start) == Some(&b'-');
            let Some(number) = number(window, end.wrapping_sub(start + usize::from(is_negative))) else { break };
            *value = if is_negative { -number } else { number };
            count += 1;
            behind = end;
            start = end + 1;
        }
        (count, behind)
    }

    /// The places of commas and brackets from `at` on: of so many that there is one per item, if there are, and
    /// perhaps some more. Returns their number.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,lzcnt")]
    fn separators(bytes: &[u8], at: usize, items: usize, ends: &mut [u32]) -> usize {
        let mut found = 0;
        let mut rest = bytes.get(at..).unwrap_or_default();
        let mut base = at as u32;
        while found < items && !rest.is_empty() {
            let mut padded = [0; BLOCK];
            let block = match rest.first_chunk() {
                Some(block) => block,
                None => {
                    padded[..rest.len()].copy_from_slice(rest);
                    &padded
                }
            };
            let (low, high) = halves(block);
            let mut places = u64::from(stops(low)) | u64::from(stops(high)) << 32;
            let Some(room) = ends.get_mut(found..found + BLOCK) else { break };
            found += places.count_ones() as usize;
            // In fours: how many there are is hard to predict.
            for four in room.chunks_exact_mut(4) {
                if places == 0 {
                    break;
                }
                for place in four {
                    *place = base.wrapping_add(places.trailing_zeros());
                    places &= places.wrapping_sub(1);
                }
            }
            base = base.wrapping_add(BLOCK as u32);
            rest = rest.get(BLOCK..).unwrap_or_default();
        }
        found
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,lzcnt")]
    fn halves(block: &[u8; BLOCK]) -> (__m256i, __m256i) {
        let word =
            |index: usize| block[8 * index..].first_chunk().map_or(0, |word: &[u8; 8]| i64::from_le_bytes(*word));
        let half = |first: usize| _mm256_set_epi64x(word(first + 3), word(first + 2), word(first + 1), word(first));
        (half(0), half(4))
    }

    /// Which bytes are commas or closing brackets.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,lzcnt")]
    fn stops(bytes: __m256i) -> u32 {
        let commas = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b',' as i8));
        let brackets = _mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(b']' as i8));
        _mm256_movemask_epi8(_mm256_or_si256(commas, brackets)) as u32
    }

    /// The number that the last `length` bytes of the window are: digits, and perhaps a point among them.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,lzcnt")]
    fn number(window: &[u8; WINDOW], length: usize) -> Option<f64> {
        let text = vector(window);
        let points = _mm_movemask_epi8(_mm_cmpeq_epi8(text, _mm_set1_epi8(b'.' as i8))) as u32;
        // The last bit stands for none.
        let behind_point = (points << 16 | 1).leading_zeros() as usize;
        let shape = &SHAPES.get(length)?[behind_point & 31];
        let digits = _mm_sub_epi8(text, _mm_set1_epi8(b'0' as i8));
        let digits = _mm_shuffle_epi8(digits, vector(&shape.shuffle));
        let are_none = _mm_cmpeq_epi8(_mm_max_epu8(digits, _mm_set1_epi8(10)), digits);
        if _mm_movemask_epi8(are_none) != 0 {
            return None;
        }
        // Two digits become one of base 100, two of these one of base 10,000, and so on.
        let hundreds = _mm_maddubs_epi16(digits, _mm_set1_epi16(0x010a));
        let fours = _mm_madd_epi16(hundreds, _mm_set1_epi32(0x0001_0064));
        let fours = _mm_packus_epi32(fours, fours);
        let eights = _mm_madd_epi16(fours, _mm_set1_epi32(0x0001_2710));
        // Up to 15 digits are exact, and so are powers of ten: one rounding, see `Decimal::exact`.
        let halves = _mm_mul_pd(_mm_cvtepi32_pd(eights), _mm_set_pd(1.0, 1e8));
        let digits = _mm_cvtsd_f64(_mm_add_sd(halves, _mm_unpackhi_pd(halves, halves)));
        (digits >= shape.least).then(|| digits / shape.power)
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,lzcnt")]
    fn vector(bytes: &[u8; 16]) -> __m128i {
        let bytes = u128::from_le_bytes(*bytes);
        _mm_set_epi64x((bytes >> 64) as i64, bytes as i64)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{BLOCK, Cursor};
    use crate::codec::json::samples::{number, reference};

    /// How many of the array's items are read at once, and what is left behind them.
    fn read(text: &str, items: usize) -> (Vec<f64>, &str) {
        let mut row = vec![f64::NAN; items];
        let mut cursor = Cursor::new(text.as_bytes());
        cursor.at = text.find('[').map_or(0, |at| at + 1);
        let count = cursor.numbers(&mut row, &mut vec![0; items + BLOCK]);
        row.truncate(count);
        (row, &text[cursor.at..])
    }

    /// Whether this machine can read arrays at once; says so if it can't.
    fn reads_at_once() -> bool {
        let (row, _) = read(r#"{"id":"7","features":[1.5,2]}"#, 2);
        if row.is_empty() {
            println!("this CPU has no vectors for arrays of numbers: they are read one after the other");
        }
        !row.is_empty()
    }

    #[test]
    fn what_is_read_ends_before_what_is_unusual() {
        #[rustfmt::skip]
        let cases: &[(&str, usize, &str)] = &[
            ("1,-2.5,0.125]}", 3, "]}"), ("1, -2.5, 0.125]}", 3, "]}"), ("-0,0,10,-10.5]}", 4, "]}"),
            ("1,2,3,4,5,6]}", 6, "]}"), ("1,null,3]}", 1, ",null,3]}"), ("1,2e3]}", 1, ",2e3]}"), ("1,02]}", 1, ",02]}"),
            ("1,00.5]}", 1, ",00.5]}"), ("1,.5]}", 1, ",.5]}"), ("1,5.]}", 1, ",5.]}"), ("1,-]}", 1, ",-]}"),
            ("1,--2]}", 1, ",--2]}"), ("1,1.2.3]}", 1, ",1.2.3]}"), ("1,]}", 1, ",]}"), ("1,,2]}", 1, ",,2]}"),
            ("1]2,3]}", 1, "]2,3]}"), ("1 ,2]}", 0, "1 ,2]}"), ("1,  2]}", 1, ",  2]}"), ("1,\"2\"]}", 1, ",\"2\"]}"),
            ("1,[2]]}", 1, ",[2]]}"), ("1,123456789012345]}", 2, "]}"), ("1,1234567890123456]}", 1, ",1234567890123456]}"),
            ("1,2:3]}", 1, ",2:3]}"), ("1,2", 1, ",2"), ("", 0, ""), ("1,+2]}", 1, ",+2]}"), ("1,2/3]}", 1, ",2/3]}"),
        ];
        let reads = reads_at_once();
        for (items, count, rest) in cases {
            let text = format!(r#"{{"id":"7","features":[{items}"#);
            let (row, left) = read(&text, 6);
            if reads {
                assert_eq!((row.len(), left), (*count, *rest), "{text}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

        #[test]
        fn numbers_are_those_of_serde_json(
            items in proptest::collection::vec(prop_oneof![4 => (-1e6..1e6, 0..7_usize)
                .prop_map(|(x, digits): (f64, usize)| format!("{x:.digits$}")), 1 => number()], 1..40),
            separator in prop_oneof![Just(","), Just(", ")],
        ) {
            let text = format!(r#"{{"id":"7","features":[{}]}}"#, items.join(separator));
            let (row, _) = read(&text, items.len());
            let usual = items.iter().take_while(|item| item.trim_start_matches('-').len() < 16 && !item.contains(['e', 'E']));
            prop_assert_eq!(row.len(), if reads_at_once() { usual.count() } else { 0 });
            for (number, item) in row.iter().zip(&items) {
                prop_assert_eq!(number.to_bits(), reference(item).to_bits(), "{}", item);
            }
        }
    }
}
