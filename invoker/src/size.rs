//! Sizes as people write and read them: `512M`, `1.5GiB`, plain bytes.

/// Units are powers of 1024 whichever way they are written, as with Docker.
const UNITS: [(char, u32); 4] = [('k', 10), ('m', 20), ('g', 30), ('t', 40)];

/// A text is no size.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no size; write bytes, or a number with K, M, G or T, such as 512M or 1.5GiB")]
pub struct SizeError {
    text: String,
}

/// Reads a size, in bytes.
pub fn parse(text: &str) -> Result<u64, SizeError> {
    parse_exactly(text.trim()).ok_or_else(|| SizeError { text: text.to_owned() })
}

fn parse_exactly(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = shift_of(&unit.trim_start().to_ascii_lowercase())?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine digits are more than any size needs, and keep the sum below far from overflow.
    if fraction.len() > 9 {
        return None;
    }
    let scale = 10u128.pow(u32::try_from(fraction.len()).ok()?);
    let whole = u128::from(whole.parse::<u64>().ok()?) << shift;
    let fraction = (u128::from(fraction.parse::<u64>().ok()?) << shift) / scale;
    u64::try_from(whole + fraction).ok()
}

fn shift_of(unit: &str) -> Option<u32> {
    let unit = unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b')).unwrap_or(unit);
    if unit.is_empty() {
        return Some(0);
    }
    UNITS.iter().find(|(letter, _)| unit.strip_prefix(*letter) == Some("")).map(|(_, shift)| *shift)
}

/// Writes a size for people to read, such as `1.5 GiB`.
pub fn format(bytes: u64) -> String {
    let unit = UNITS.iter().rev().find(|(_, shift)| bytes >> shift > 0);
    let Some((letter, shift)) = unit else { return format!("{bytes} B") };
    let tenths = (u128::from(bytes) * 10) >> shift;
    format!("{}.{} {}iB", tenths / 10, tenths % 10, letter.to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_all_the_ways_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("123", 123),
            ("123b", 123),
            ("1k", 1024),
            ("512M", 512 << 20),
            ("512mb", 512 << 20),
            ("2G", 2 << 30),
            ("2 GiB", 2 << 30),
            ("1.5GiB", 3 << 29),
            (" 1T ", 1 << 40),
            ("0.5k", 512),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused() {
        for text in [
            "",
            "M",
            "-1",
            "1.2.3",
            "1.",
            ".5",
            "1e9",
            "5 apples",
            "1ki",
            "1kk",
            "1é",
            "0x10",
            "ib",
            "18446744073709551616",
            "99999999999T",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_written_with_one_decimal() {
        assert_eq!(format(0), "0 B");
        assert_eq!(format(1023), "1023 B");
        assert_eq!(format(1024), "1.0 KiB");
        assert_eq!(format(3 << 29), "1.5 GiB");
        assert_eq!(format(u64::MAX), "16777215.9 TiB");
    }
}
