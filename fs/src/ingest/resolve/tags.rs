//! Preference among wheels that all fit: the one whose tags say most, as uv and pip have
//! it. uv names those that fit, so nothing is asked here of what the machine has.

use std::cmp::Reverse;

/// Rank of a wheel that fits; the least is the best.
type Rank = (u8, u16, u8, Reverse<u32>);

/// Order of wheels that fit, of which the least is installed.
pub type Preference = (Rank, Reverse<(u64, String)>);

/// Ranks a wheel with a file name for CPython 3.`minor`. `None` if the name is no
/// wheel's, or for another interpreter.
pub fn preference(file: &str, minor: u16) -> Option<Preference> {
    let parts: Vec<&str> = file.strip_suffix(".whl")?.split('-').collect();
    let (build, [python, abi, platform]) = match parts[..] {
        [_, _, python, abi, platform] => ("", [python, abi, platform]),
        [_, _, build, python, abi, platform] => (build, [python, abi, platform]),
        _ => return None,
    };
    let mut best = None;
    for python in python.split('.') {
        for abi in abi.split('.') {
            for platform in platform.split('.') {
                let rank = rank(python, abi, platform, minor);
                best = [best, rank].into_iter().flatten().min();
            }
        }
    }
    let digits = build.find(|c: char| !c.is_ascii_digit()).unwrap_or(build.len());
    let (number, rest) = build.split_at(digits);
    Some((best?, Reverse((number.parse().unwrap_or(0), rest.to_owned()))))
}

/// First what was built for the very interpreter, then the stable interface, then no binary interface; of
/// each the newest interpreter, and then the newest platform.
fn rank(python: &str, abi: &str, platform: &str, minor: u16) -> Option<Rank> {
    let is_compiled = python.starts_with("cp3");
    let wanted = match python {
        "py3" => None,
        _ => Some(python.strip_prefix("cp3").or_else(|| python.strip_prefix("py3"))?.parse().ok()?),
    };
    let age = minor.checked_sub(wanted.unwrap_or(minor))?;
    let platform = newness(platform);
    // What names no version comes right after the interpreter's own.
    let after = u8::from(wanted.is_none());
    let (class, after) = match (abi, is_compiled, platform) {
        ("abi3", true, _) => (1, 0),
        ("none", true, Some(_)) if age == 0 => (1, 1),
        ("none", false, Some(_)) => (2, after),
        ("none", true, None) if age == 0 => (3, 0),
        ("none", false, None) => (4, after),
        ("none", ..) => return None,
        _ if is_compiled && age == 0 => (0, 0),
        _ => return None,
    };
    Some((class, age, after, Reverse(platform.unwrap_or(0))))
}

/// Age of the system that a platform's tag asks for; `None` if it asks for none.
fn newness(platform: &str) -> Option<u32> {
    let legacy = [("manylinux2014_", 17), ("manylinux2010_", 12), ("manylinux1_", 5)];
    if platform == "any" {
        return None;
    }
    if let Some((_, minor)) = legacy.iter().find(|(prefix, _)| platform.starts_with(prefix)) {
        // Its other name is the newer one.
        return Some((2000 + minor) * 2);
    }
    let rest = platform.strip_prefix("manylinux_").or_else(|| platform.strip_prefix("musllinux_"));
    let mut numbers = rest.into_iter().flat_map(|rest| rest.split('_'));
    let mut number = || numbers.next().and_then(|number| number.parse::<u32>().ok());
    match (number(), number()) {
        (Some(major), Some(minor)) if major < 1000 && minor < 1000 => {
            Some((major * 1000 + minor) * 2 + 1)
        }
        _ => Some(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_most_is_preferred() {
        // In the order in which uv takes them.
        let ordered = [
            "x-1-cp311-cp311-manylinux_2_28_x86_64.whl",
            "x-1-2b-cp311-cp311-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "x-1-2-cp311-cp311-manylinux_2_17_x86_64.whl",
            "x-1-cp311-cp311-manylinux_2_17_x86_64.whl",
            "x-1-cp311-cp311-manylinux2014_x86_64.whl",
            "x-1-cp311-cp311-linux_x86_64.whl",
            "x-1-cp311-abi3-manylinux2014_x86_64.whl",
            "x-1-cp311-none-manylinux2014_x86_64.whl",
            "x-1-cp39-abi3-manylinux_2_34_x86_64.whl",
            "x-1-cp39-abi3-manylinux_2_28_x86_64.whl",
            "x-1-py311-none-manylinux_2_28_x86_64.whl",
            "x-1-py2.py3-none-manylinux_2_28_x86_64.whl",
            "x-1-py3-none-manylinux1_x86_64.whl",
            "x-1-py310-none-manylinux_2_28_x86_64.whl",
            "x-1-cp311-none-any.whl",
            "x-1-py311-none-any.whl",
            "x-1-py2.py3-none-any.whl",
            "x-1-py39-none-any.whl",
        ];
        let preferences: Vec<_> =
            ordered.iter().map(|file| preference(file, 11).expect(file)).collect();
        for (pair, files) in preferences.windows(2).zip(ordered.windows(2)) {
            assert!(pair[0] < pair[1], "{files:?}");
        }
    }

    #[test]
    fn what_is_for_another_interpreter_is_not_preferred() {
        for file in [
            "x-1.tar.gz",
            "x-1-any.whl",
            "x-1-py2-none-any.whl",
            "x-1-cp312-cp312-linux_x86_64.whl",
            "x-1-cp312-abi3-linux_x86_64.whl",
            "x-1-cp310-cp310-linux_x86_64.whl",
            "x-1-cp310-none-any.whl",
            "x-1-py312-none-any.whl",
            "x-1-pp311-none-any.whl",
        ] {
            assert_eq!(preference(file, 11), None, "{file}");
        }
    }
}
