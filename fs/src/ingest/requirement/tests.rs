use proptest::prelude::*;

use super::*;

fn written(line: &str) -> String {
    match Line::parse(line) {
        Ok(Line::Requirement(requirement)) => requirement.to_string(),
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn a_requirement_is_written_as_it_was_meant() {
    for (line, is) in [
        ("Typing.Extensions", "typing-extensions"),
        ("six (>=1.0, <2)", "six>=1.0,<2"),
        ("six==1.16.*", "six==1.16.*"),
        ("x[b, A_c] ~= 3.0 ; extra=='web'", "x[a-c,b]~=3.0 ; extra == 'web'"),
        ("x[]", "x"),
        ("x @ https://host/x;y.whl ; os_name == 'a'", "x @ https://host/x;y.whl ; os_name == 'a'"),
        ("x@https://host/x.whl", "x @ https://host/x.whl"),
        ("x==1 --hash sha256:AA\t--hash=md5:bb", "x==1 --hash=md5:bb --hash=sha256:aa"),
        (
            "https://h/My_Own-1.0+x-py3-none-any.whl?c=d-e.whl#sha256=aa",
            "my-own @ https://h/My_Own-1.0+x-py3-none-any.whl?c=d-e.whl#sha256=aa",
        ),
        ("x===1.0", "x===1.0"),
    ] {
        assert_eq!(written(line), is);
        assert_eq!(written(is), is);
    }
}

#[test]
fn options_are_those_that_are_known() {
    let choice = |line: &str| match Line::parse(line) {
        Ok(Line::Choice(choice)) => choice,
        other => panic!("{line}: {other:?}"),
    };
    let address = |text: &str| Address::parse(text).unwrap();
    assert_eq!(choice("-i  https://b/simple"), Choice::Index(address("https://b/simple")));
    assert_eq!(choice("--index-url='https://b'"), Choice::Index(address("https://b")));
    assert_eq!(choice("--extra-index-url=https://a"), Choice::ExtraIndex(address("https://a")));
    assert_eq!(choice("-f https://a"), Choice::FindLinks(address("https://a")));
    assert_eq!(choice("--pre"), Choice::Pre);
    assert_eq!(choice("--only-binary :all:"), Choice::Ignored);
    assert_eq!(choice("--no-binary=:none:"), Choice::Ignored);
    for line in [
        "--no-binary six",
        "--no-binary",
        "-e .",
        "-r x",
        "--config-settings x",
        "--pre six",
        "-i file:///x",
        "-ihttps://b/simple",
        "-i https://a https://b",
        "--extra-index-url https://me:hunter2@a",
    ] {
        let error = Line::parse(line).unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn what_another_reader_could_take_for_more_than_one_line_is_refused() {
    for end in ['\r', '\n', '\x0b', '\x0c', '\x1c', '\0', '\u{85}', '\u{2028}', '\u{2029}'] {
        for line in [
            format!("six{end}--no-binary :all:{end}"),
            format!("six ; os_name == 'a{end}b'"),
            format!("six{end}"),
            format!("x @ https://host/{end}x.whl"),
            format!("--pre{end}six"),
        ] {
            let error = Line::parse(&line).unwrap_err().to_string();
            assert!(error.contains("control character") && !error.contains(end), "{error:?}");
        }
    }
    for line in [
        "",
        "six seven",
        "six ==",
        "six, seven",
        "six \\",
        "six # comment",
        "six; os_name",
        "six[a",
        "-six",
        ".six",
        "six-",
        "six --hash",
        "six --hash=sha256:xyz",
        "six --hash=crc:00",
        "six --config-settings=x",
        "six==1 --hash=sha256:aa ; os_name == 'a'",
        "x @ file:///x.whl",
        "x @ file:x.whl",
        "file:///x-1-py3-none-any.whl",
        "x @ https://host/${UV_DEFAULT_INDEX}",
        "x @ https://host/a b",
        "x @ git+https://host/x",
        "https://host/x.tar.gz",
        "./six",
        "six.whl/x",
    ] {
        assert!(Line::parse(line).is_err(), "{line}");
    }
    assert!(Line::parse(&format!("six=={}", "1.".repeat(LONGEST))).is_err());
}

/// Pieces that lines are made of, and what does not belong there.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        proptest::sample::select(
            &[
                "six",
                "x.y",
                "[a,b]",
                "==1.0",
                ">=2,<3",
                " ; ",
                "os_name",
                " == ",
                "'a b'",
                " and ",
                " or ",
                "(",
                ")",
                " @ ",
                "https://host:80/x-1-py3-none-any.whl",
                "--hash=sha256:aa",
                " ",
                "\t",
                "--pre",
                "-i ",
                "extra",
                " in ",
                "not in",
                "\r",
                "\u{2028}",
                "${A}",
                "#",
                "'",
                "\"",
                "\\",
                "@",
                "file:",
                "//",
            ][..]
        )
        .prop_map(ToOwned::to_owned),
        "\\PC{0,3}",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Whatever is read is written on one line, in characters that nobody takes for an end, and read
    /// again as the same.
    #[test]
    fn what_is_written_is_one_line_and_means_the_same(line in pieces()) {
        if let Ok(Line::Requirement(requirement)) = Line::parse(&line) {
            let written = requirement.to_string();
            prop_assert!(written.bytes().all(|b| (b' '..=b'~').contains(&b)), "{:?}", written);
            prop_assert!(!written.contains("${") && !written.starts_with('-'), "{:?}", written);
            prop_assert_eq!(Line::parse(&written), Ok(Line::Requirement(requirement)));
        }
    }
}
