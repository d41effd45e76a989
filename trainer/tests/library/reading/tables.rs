use std::fmt::Write;

use sparsecode_trainer::data::{Decimal, Look};
use sparsecode_trainer::data::{Hints, Recording};

use super::{File, column, deviation, open, read, refused, wave};

/// A table of times and values, each line made by `line`.
fn table(head: &str, line: impl Fn(usize, f32) -> String) -> String {
    let mut text = head.to_string();
    for (index, value) in wave(200).into_iter().enumerate() {
        text += &line(index, value);
    }
    text
}

fn comma(value: impl ToString) -> String {
    value.to_string().replace('.', ",")
}

fn check(name: &str, text: impl AsRef<[u8]>, hints: &Hints) -> (Recording, usize) {
    let file = File::new(name, text);
    let (recording, chosen) = open(&file.path, hints).unwrap_or_else(|error| panic!("{error}"));
    let values = &recording.channels[chosen].values;
    let expected = wave(200);
    assert_eq!(values.len(), 200, "{name}");
    for (value, expected) in values.iter().zip(&expected) {
        assert!((value - expected).abs() < 1e-3, "{value} {expected}");
    }
    (recording, chosen)
}

#[test]
fn separators_are_found_from_all_lines() {
    for separator in [",", ";", "\t", "|", " ", ", ", "; ", "   "] {
        let text = table(&format!("t{separator}x\n"), |i, x| {
            format!("{:.3}{separator}{x:.4}\n", i as f64 / 500.0)
        });
        let (recording, _) = check("x.csv", text, &column("x"));
        assert_eq!(recording.channels.len(), 2, "{separator:?}");
        assert_eq!(recording.sample_rate, Some(500.0), "{separator:?}");
    }
    // Commas in the head's text do not separate the columns below.
    let text = table(
        "# made by A, B, C, D\nrun 3, channel 2, again\nt;x\n",
        |i, x| format!("{i};{x:.4}\n"),
    );
    let (recording, _) = check("x.csv", text, &column("x"));
    assert!(
        recording
            .notes
            .iter()
            .any(|note| note.contains("1 line above"))
    );
    let text = table("sep=;\nt;x\n", |i, x| format!("{i};{}\n", comma(x)));
    check("x.csv", text, &column("x"));
    // A column of text with commas in quotes.
    let text = table("note,x\n", |i, x| format!("\"a,b {i}\",{x}\n"));
    let (recording, _) = check("x.csv", text, &column("x"));
    assert_eq!(recording.channels[0].look, Look::Text);
}

#[test]
fn decimal_commas_are_read_or_asked_for() {
    let told = Hints {
        decimal: Some(Decimal::Comma),
        ..Hints::default()
    };
    for separator in [";", "\t", " ", "|"] {
        for head in ["", "t@x\n", "t@x\ns@g\n"] {
            let head = head.replace('@', separator);
            let text = table(&head, |i, x| {
                format!(
                    "{}{separator}{}\n",
                    comma(format!("{:.3}", i as f64 / 500.0)),
                    comma(x)
                )
            });
            let (recording, _) = check("x.csv", &text, &column("1"));
            assert!(recording.notes[0].contains("decimal sign is the comma"));
            let hints = Hints {
                column: told.column.clone().or(column("1").column),
                ..told.clone()
            };
            check("x.csv", text, &hints);
        }
    }
    // One column: under a name there is one way to read it.
    check(
        "x.csv",
        table("accel\n", |_, x| format!("{}\n", comma(x))),
        &Hints::default(),
    );
    check(
        "x.csv",
        table("", |_, x| format!("{}\n", comma(format!("{x:.3}")))),
        &told,
    );
    check(
        "x.csv",
        table("", |_, x| format!("\"{}\"\n", comma(x))),
        &told,
    );
    // Integers are written with a -0 and zeros in front, too.
    for line in ["-0,12\n", "0,012\n"] {
        let file = File::new("x.csv", table("", |_, _| line.into()));
        let (error, usage) = refused(&file.path, &Hints::default());
        assert!(
            usage && error.contains("--set data.decimal=comma"),
            "{error}"
        );
    }
    // Otherwise it could be two columns of integers.
    let file = File::new("x.csv", table("", |i, _| format!("{i},{}\n", 7 * i % 50)));
    let (error, usage) = refused(&file.path, &Hints::default());
    assert!(usage && error.contains("data.decimal"), "{error}");
    assert!(
        error.contains("decimal comma") && error.contains("line 1"),
        "{error}"
    );
    // Which only rises, so that it is read where it is named.
    let named = Hints {
        decimal: Some(Decimal::Comma),
        ..column("0")
    };
    assert_eq!(read(&file.path, &named)[3], 3.21);
    let two = Hints {
        decimal: Some(Decimal::Point),
        ..column("1")
    };
    assert_eq!(read(&file.path, &two)[3], 21.0);
    // Who names the second column says that there are two.
    assert_eq!(read(&file.path, &column("1"))[3], 21.0);
    // Commas for both cannot be told apart.
    let file = File::new(
        "x.csv",
        table("t,x\n", |i, x| format!("{i},5,{}\n", comma(x))),
    );
    let (error, _) = refused(&file.path, &column("x"));
    assert!(
        error.contains("decimal commas") || error.contains("no column x"),
        "{error}"
    );
    // One number of another kind.
    let file = File::new(
        "x.csv",
        table("x;y\n", |i, x| match i {
            7 => "0.1;1,5\n".into(),
            _ => format!("{x};{x}\n"),
        }),
    );
    let (error, _) = refused(&file.path, &column("y"));
    assert!(
        error.contains("line 9, sample 7") && error.contains("data.decimal"),
        "{error}"
    );
    // Every number so.
    let file = File::new("x.csv", table("x\n", |i, _| format!("\"1,{:03}.5\"\n", i)));
    let (error, _) = refused(&file.path, &Hints::default());
    assert!(
        error.contains("line 2 is \"1,000.5\" (write numbers without separators of thousands)"),
        "{error}"
    );
    let file = File::new("x.csv", table("", |i, _| format!("1.{:03},5\n", i)));
    let (error, _) = refused(&file.path, &Hints::default());
    assert!(error.contains("data.decimal=comma"), "{error}");
    let (error, _) = refused(&file.path, &told);
    assert!(error.contains("thousands"), "{error}");
    // Separators of thousands.
    let file = File::new(
        "x.csv",
        table("x;y\n", |i, x| match i {
            7 => "1;1.234,5\n".into(),
            _ => format!("{i};{}\n", comma(x)),
        }),
    );
    let (error, _) = refused(&file.path, &column("y"));
    assert!(error.contains("thousands"), "{error}");
}

#[test]
fn several_columns_and_none_named_is_an_error_that_lists_them() {
    let text = table("time,n,accel,unit,temp\n", |i, x| {
        format!("{:.6},{i},{x},g,21\n", i as f64 / 12_000.0)
    });
    let file = File::new("bearing.csv", &text);
    let (error, usage) = refused(&file.path, &Hints::default());
    assert!(usage);
    for needle in [
        "bearing.csv has 5 columns",
        "--set data.column=accel",
        "0 \"time\" (rises evenly by 8.333e-5: looks like time)",
        "1 \"n\" (counts 0, 1, 2, …: looks like an index)",
        "2 \"accel\" (-1.2",
        "3 \"unit\" (text)",
        "4 \"temp\" (is 21 throughout)",
    ] {
        assert!(error.contains(needle), "{error} lacks {needle}");
    }
    assert_eq!(
        check("b.csv", &text, &column("accel")).0.sample_rate,
        Some(12_000.0)
    );
    check("b.csv", &text, &column("2"));
    for (name, needle) in [
        ("speed", "has no column speed"),
        ("5", "has no column 5"),
        ("unit", "is text, not numbers"),
    ] {
        let (error, usage) = refused(&file.path, &column(name));
        assert!(
            usage && error.contains(needle) && error.contains("accel"),
            "{error}"
        );
    }
    // Also where only one column is no time and no index.
    let file = File::new("x.csv", table("t,x\n", |i, x| format!("{i},{x}\n")));
    assert!(refused(&file.path, &Hints::default()).1);
    let file = File::new("x.csv", table("x,x\n", |_, x| format!("{x},{x}\n")));
    assert!(
        refused(&file.path, &column("x"))
            .0
            .contains("several columns of the name x")
    );
    // Time stamps are known as such, with a space in them, too.
    for separator in [",", ";", "\t"] {
        let text = table(&format!("when{separator}x\n"), |i, x| {
            format!(
                "2024-03-01T10:{:02}:{:02}.5{separator}{x}\n",
                i / 60,
                i % 60
            )
        });
        let file = File::new("x.csv", &text);
        let (error, _) = refused(&file.path, &Hints::default());
        assert!(error.contains("0 \"when\" (time stamps)"), "{error}");
        check("x.csv", &text, &column("x"));
        check("x.csv", text.replace('T', " "), &column("x"));
        let (error, _) = refused(&file.path, &column("when"));
        assert!(error.contains("is time stamps, not numbers"), "{error}");
    }
}

#[test]
fn an_only_column_that_counts_is_no_signal() {
    for text in [
        table("", |i, _| format!("{i}\n")),
        table("n\n", |i, _| format!("{}\n", i + 1)),
        table("t\n", |i, _| format!("{}\n", i as f64 / 500.0)),
        table("when\n", |i, _| format!("10:00:{:02}\n", i % 60)),
    ] {
        let file = File::new("x.csv", text);
        let (error, usage) = refused(&file.path, &Hints::default());
        assert!(usage && error.contains("is no signal"), "{error}");
    }
    // But who names it means it.
    let file = File::new("x.csv", table("", |i, _| format!("{i}\n")));
    assert_eq!(read(&file.path, &column("0"))[199], 199.0);
}

#[test]
fn a_header_is_not_a_sample() {
    // Exports of data frames: without the index, with it, with fixed places, of several columns.
    for (text, name) in [
        (
            table("0\n", |i, x| {
                if i == 0 {
                    "0.0\n".into()
                } else {
                    format!("{x:?}\n")
                }
            }),
            "0",
        ),
        (table("0\n", |_, x| format!("{x:.4}\n")), "0"),
        (table(",0\n", |i, x| format!("{i},{x}\n")), "1"),
        (table(",x\n", |i, x| format!("{i},{x}\n")), "x"),
        (
            table("0,1\n", |i, x| format!("{:.1},{x:.4}\n", i as f64)),
            "1",
        ),
        (table("0,1,2\n", |i, x| format!("{},{x},7\n", i + 5)), "1"),
        (
            table("\"\",\"x\"\n", |i, x| format!("\"{}\",{x}\n", i + 1)),
            "x",
        ),
        (
            table("\"x\" \"y\"\n", |i, x| format!("\"{}\" {x} 4\n", i + 1)),
            "x",
        ),
        // A name that is a number.
        (
            table("1000\n", |_, x| format!("{x:.4}\n")).replacen("1000", "\"1000 Hz\"", 1),
            "0",
        ),
        // Names in a comment, as numpy.savetxt writes them.
        (table("# t,x\n", |i, x| format!("{i},{x}\n")), "x"),
    ] {
        check("x.csv", text, &column(name));
    }
    // Who writes 0 as 0.0 has no sample 0 in the first line; who writes integers may have one,
    // which is said.
    let text = "0\n12\n-5\n7\n3\n9\n";
    let file = File::new("x.csv", text);
    let (recording, _) = open(&file.path, &Hints::default()).unwrap();
    assert_eq!(recording.len(), 6);
    assert!(
        recording.notes[0].contains("--set data.header=true"),
        "{:?}",
        recording.notes
    );
    let told = Hints {
        header: Some(true),
        ..Hints::default()
    };
    assert_eq!(read(&file.path, &told), [12.0, -5.0, 7.0, 3.0, 9.0]);
    // A counter from 0 with a 1 beside it.
    let file = File::new("x.csv", "0,1\n1,3\n2,2\n3,9\n4,5\n");
    assert_eq!(read(&file.path, &column("1")), [1.0, 3.0, 2.0, 9.0, 5.0]);
    // Any other number in the first line is a sample.
    let file = File::new("x.csv", "1\n2.5\n-3e2\n");
    assert_eq!(read(&file.path, &Hints::default()), [1.0, 2.5, -300.0]);
}

#[test]
fn units_comments_and_quotes_are_understood() {
    for head in [
        "time,accel\ns,g\n",
        "time,accel\n(ms),(mV)\n",
        "time,accel\n[s],[m/s^2]\n",
        "\u{feff}time,accel\n\n",
        "Device,X\n\ntime,accel\ns,g\n\n",
        "% comment\n# another\ntime,accel\n",
        "\"time\",\"accel\"\n",
        "\"time\",\"accel\n(g)\"\n",
    ] {
        let text = table(head, |i, x| format!("{:.3},{x}\n", i as f64 / 500.0));
        let (recording, chosen) = check("x.csv", &text, &column("1"));
        assert_eq!(
            recording.channels[0].name.as_deref(),
            Some("time"),
            "{head:?}"
        );
        assert!(
            recording.channels[chosen]
                .name
                .as_ref()
                .unwrap()
                .starts_with("accel")
        );
        let rate = if head.contains("ms") { 500e3 } else { 500.0 };
        assert_eq!(recording.sample_rate, Some(rate), "{head:?}");
        check("x.csv", text.replace('\n', "\r\n"), &column("1"));
        // As text is written to a binary file on Windows, or twice.
        check("x.csv", text.replace('\n', "\r\r\n"), &column("1"));
    }
    let quoted = table("t,x\n", |i, x| format!("\"{i}\",\"{x}\"\n"));
    check("x.csv", quoted, &column("x"));
    let trailing = table("x,\n", |_, x| format!("{x},\n"));
    check("x.csv", trailing, &Hints::default());
    let old = table("x\n", |_, x| format!("{x}\n")).replace('\n', "\r");
    check("x.csv", old, &Hints::default());
    // Rates are claimed only where the unit is known.
    for (head, line) in [("t;x\n", 2), ("sample;x\n", 1), ("time (min);x\n", 1)] {
        let text = table(head, |i, x| format!("{};{x}\n", line * i));
        assert_eq!(
            check("x.csv", text, &column("x")).0.sample_rate,
            None,
            "{head}"
        );
    }
}

#[test]
fn texts_of_every_encoding() {
    let text = table("Zeit (µs);Größe\n", |i, x| {
        format!("{};{}\n", 2000 * i, comma(x))
    });
    let words: Vec<u16> = std::iter::once(0xfeff).chain(text.encode_utf16()).collect();
    let little: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let big: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let marked = [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for bytes in [text.as_bytes(), &little, &big, &latin, &marked] {
        let (recording, chosen) = check("x.csv", bytes, &column("Größe"));
        assert_eq!(recording.sample_rate, Some(500.0));
        // And written as they were.
        let file = File::new("y.csv", "");
        let mut values = recording.channels[chosen].values.clone();
        values[3] = -0.5;
        recording
            .write(&file.path, &[(chosen, values.clone())])
            .unwrap();
        assert_eq!(read(&file.path, &column("Größe")), values);
        let written = std::fs::read(&file.path).unwrap();
        assert_eq!(written[..8], bytes[..8]);
    }
    for (bytes, needle) in [
        (&little[2..], "UTF-16 text without its mark"),
        (&[little.as_slice(), &[1]].concat()[..], "broken UTF-16"),
        (b"1\n2\n\0\0\n4\n".as_slice(), "zero bytes"),
        (b"<html>\n<body>no</body>\n", "no line of it holds numbers"),
        (b"", "no line of it holds numbers"),
        (b"x\n", "no line of it holds numbers"),
    ] {
        let file = File::new("x.csv", bytes);
        let (error, _) = refused(&file.path, &Hints::default());
        assert!(error.contains(needle), "{error}");
    }
}

#[test]
fn gaps_are_named_by_line_and_sample() {
    let good = table("x\n", |_, x| format!("{x}\n"));
    let lines: Vec<&str> = good.lines().collect();
    let with = |index: usize, line: &str| {
        let mut lines = lines.clone();
        lines[index] = line;
        lines.join("\n")
    };
    for (line, needle) in [
        ("", "line 101, after sample 98, is blank"),
        ("  ", "line 101, after sample 98, is blank"),
        ("NaN", "line 101, sample 99 is missing (\"NaN\")"),
        ("n/a", "line 101, sample 99 is missing"),
        ("oops", "line 101, sample 99 is not a number: \"oops\""),
        ("inf", "sample 99 is inf"),
        ("1e400", "sample 99 is inf"),
    ] {
        let file = File::new("x.csv", with(100, line));
        let (error, _) = refused(&file.path, &Hints::default());
        assert!(error.contains(needle), "{line:?}: {error}");
    }
    // Blank lines around the numbers are none.
    check("x.csv", format!("\n\n{good}\n\n \n"), &Hints::default());
    // In another column a gap does not matter, but is told in the list.
    let text = table("a,b\n", |i, x| match i {
        50 => format!(",{x}\n"),
        _ => format!("{x},{x}\n"),
    });
    check("x.csv", &text, &column("b"));
    let file = File::new("x.csv", &text);
    let (error, _) = refused(&file.path, &column("a"));
    assert!(error.contains("line 52, sample 50 is missing"), "{error}");
    let (error, _) = refused(&file.path, &Hints::default());
    assert!(error.contains("with a gap"), "{error}");
    let file = File::new(
        "x.csv",
        table("a,b\n", |i, x| match i {
            50 => format!("{x}\n"),
            51 => format!("{x},1,2\n"),
            _ => format!("{x},{x}\n"),
        }),
    );
    let (error, _) = refused(&file.path, &column("b"));
    assert!(error.contains("line 52, sample 50, has 1 field"), "{error}");
}

#[test]
fn tables_are_written_back_with_all_that_is_not_replaced() {
    for (text, chosen, expected) in [
        (
            "# by hand\nt; \"x\" ;note\r\n0,0;1,5;\"a;b\"\r\n0,1; \"2,5\";c\r\n0,2;3;d\r\n",
            1,
            "# by hand\nt; \"x\" ;note\r\n0,0;-0,25;\"a;b\"\r\n0,1; \"10\";c\r\n0,2;0,5;d\r\n",
        ),
        ("0.5\n2\n-1\n", 0, "-0.25\n10\n0.5\n"),
        (
            "a b\n 1.0   2\n3.5 4\n5 6",
            0,
            "a b\n -0.25   2\n10 4\n0.5 6",
        ),
        ("x,\n1.5,\n2,\n3,\n", 0, "x,\n-0.25,\n10,\n0.5,\n"),
    ] {
        let file = File::new("x.csv", text);
        let recording = Recording::read(&file.path, &Hints::default()).unwrap();
        let clean = file.beside("clean.csv");
        let written = recording
            .write(&clean, &[(chosen, vec![-0.25, 10.0, 0.5])])
            .unwrap();
        assert_eq!(written.clipped, 0);
        assert_eq!(std::fs::read_to_string(&clean).unwrap(), expected);
        // Nothing replaced is the file itself.
        recording.write(&clean, &[]).unwrap();
        assert_eq!(
            std::fs::read(&clean).unwrap(),
            std::fs::read(&file.path).unwrap()
        );
    }
    // As another kind of file: the replaced columns alone.
    let file = File::new(
        "x.csv",
        table("time,a,b\n", |i, x| {
            format!("{:.3},{x},{}\n", i as f64 / 500.0, 2.0 * x)
        }),
    );
    let recording = Recording::read(&file.path, &Hints::default()).unwrap();
    let replaced: Vec<_> = [1, 2]
        .map(|c| (c, recording.channels[c].values.clone()))
        .into();
    for name in ["y.npy", "y.wav"] {
        let other = file.beside(name);
        recording.write(&other, &replaced).unwrap();
        let back = Recording::read(&other, &Hints::default()).unwrap();
        assert_eq!(back.channels.len(), 2);
        assert_eq!(back.channels[1].values, recording.channels[2].values);
    }
    let mut text = String::new();
    wave(10).iter().for_each(|x| writeln!(text, "{x}").unwrap());
    let file = File::new("x.csv", text);
    let recording = Recording::read(&file.path, &Hints::default()).unwrap();
    let error = recording.write(&file.beside("y.wav"), &[(0, wave(10))]);
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("samples per second")
    );
    assert!(deviation(&wave(500)) > 0.7);
}

#[test]
fn quoted_decimal_commas_between_commas_are_read() {
    let quoted = |value: String| format!("\"{}\"", comma(value));
    let text = table("time,x\n", |i, x| {
        let time = quoted(format!("{:.3}", i as f64 / 500.0));
        // A whole number may stand without quotes.
        let value = if x == 0.0 {
            "0".into()
        } else {
            quoted(format!("{x:.3}"))
        };
        format!("{time},{value}\n")
    });
    let (recording, chosen) = check("x.csv", &text, &column("x"));
    assert_eq!(recording.sample_rate, Some(500.0));
    let file = File::new("y.csv", "");
    let replaced = vec![0.5; 200];
    recording
        .write(&file.path, &[(chosen, replaced.clone())])
        .unwrap();
    assert_eq!(read(&file.path, &column("x")), replaced);
    // The commas may separate thousands.
    let file = File::new(
        "x.csv",
        table("n,x\n", |i, _| format!("{i},\"1,{:03}\"\n", 7 * i % 50)),
    );
    let (error, usage) = refused(&file.path, &column("x"));
    assert!(usage && error.contains("data.decimal"), "{error}");
}

#[test]
fn a_delimiter_at_the_end_of_lines_does_not_move_the_names() {
    for separator in [",", "\t", ";"] {
        let text = table(&format!("x{separator}y\n"), |_, x| {
            format!("{x:.4}{separator}7.5{separator}\n")
        });
        let (recording, chosen) = check("x.csv", &text, &column("x"));
        assert_eq!((recording.channels.len(), chosen), (2, 0), "{separator:?}");
        let text = table(&format!("time{separator}x{separator}y\n"), |i, x| {
            format!(
                "{:.3}{separator}{x:.4}{separator}7.5{separator}\n",
                i as f64 / 500.0
            )
        });
        let (recording, chosen) = check("x.csv", &text, &column("x"));
        assert_eq!(
            (recording.sample_rate, chosen),
            (Some(500.0), 1),
            "{separator:?}"
        );
        // An only column keeps its name, and is written back.
        let text = table("x\n", |_, x| format!("{x:.4}{separator}\n"));
        check("x.csv", &text, &column("x"));
        let integers = format!("x\n5{separator}\n2{separator}\n7{separator}\n");
        let file = File::new("x.csv", &integers);
        assert_eq!(read(&file.path, &column("x")), [5.0, 2.0, 7.0]);
        let recording = Recording::read(&file.path, &Hints::default()).unwrap();
        let clean = file.beside("clean.csv");
        recording
            .write(&clean, &[(0, vec![5.0, 2.0, 7.0])])
            .unwrap();
        assert_eq!(std::fs::read_to_string(&clean).unwrap(), integers);
    }
}

#[test]
fn numbers_that_may_be_names_are_asked_for() {
    let two = |head: &str| table(head, |_, x| format!("{x:.3},{:.2}\n", 2.0 * x));
    let whole = |x: f32| (1000.0 * x).round();
    for text in [
        two("1,2\n"),
        two("2019,2020\n"),
        table("1,2,3,4\n", |i, x| {
            format!("{x},{},7.5,{x}\n", whole(x) * i as f32)
        }),
        table("1,2\n", |_, x| format!("{},{}\n", whole(x), whole(-x))),
        table("0,1\n", |_, x| format!("{},{}\n", whole(x), whole(-x))),
        table("500\n", |_, x| format!("{x:?}\n")),
        table("0.0\n", |_, x| format!("{x:.4}\n")),
        table("0.5\n", |_, x| format!("{x:.4e}\n")),
    ] {
        let file = File::new("x.csv", &text);
        let (error, usage) = refused(&file.path, &column("0"));
        let head = text.lines().next().unwrap().replace(',', " ");
        for needle in [
            "x.csv",
            "line 1",
            &head,
            "--set data.header=true",
            "--set data.header=false",
        ] {
            assert!(usage && error.contains(needle), "{error} lacks {needle}");
        }
        for (header, count) in [(true, 200), (false, 201)] {
            let hints = Hints {
                header: Some(header),
                ..Hints::default()
            };
            let recording = Recording::read(&file.path, &hints).unwrap();
            assert_eq!(recording.len(), count);
        }
    }
    // A counter or a time axis that goes through the first line shows that it holds numbers.
    for text in [
        table("", |i, x| format!("{},{x}\n", i + 1)).replacen("1,0\n", "1,2\n", 1),
        table("", |i, x| format!("{},{x}\n", 0.5 * i as f64)).replacen("0,0\n", "0,1\n", 1),
    ] {
        let file = File::new("x.csv", &text);
        assert_eq!(read(&file.path, &column("1")).len(), 200);
    }
    // The same first value in all columns is no row of names.
    let file = File::new("x.csv", table("", |_, x| format!("{x},{x}\n")));
    assert_eq!(read(&file.path, &column("1")).len(), 200);
}

#[test]
fn uneven_time_is_no_signal() {
    let jitter = |i: usize| i as f64 / 500.0 + 0.0008 * (1.7 * i as f64).sin();
    let pause = |i: usize| i as f64 / 500.0 + if i > 90 { 3.0 } else { 0.0 };
    let down = |i: usize| 200.0 - i as f64;
    let times: [&dyn Fn(usize) -> f64; 3] = [&jitter, &pause, &down];
    for time in times {
        let text = table("n,x\n", |i, x| format!("{:.6},{x}\n", time(i)));
        let (recording, _) = check("x.csv", &text, &column("x"));
        assert!(!recording.channels[0].look.is_signal());
        assert!(recording.channels[1].look.is_signal());
        let file = File::new("x.csv", table("n\n", |i, _| format!("{:.6}\n", time(i))));
        let (error, usage) = refused(&file.path, &Hints::default());
        assert!(usage && error.contains("looks like time"), "{error}");
        assert_eq!(read(&file.path, &column("n")).len(), 200);
    }
    // Missing numbers do not make it a signal.
    let text = table("n,x\n", |i, x| match i {
        50 => format!(",{x}\n"),
        _ => format!("{i},{x}\n"),
    });
    assert!(
        !check("x.csv", &text, &column("x")).0.channels[0]
            .look
            .is_signal()
    );
    // What is named time may be rounded and stand still; and no rate is claimed.
    for name in ["time", "t", "timestamp", "Time (ms)"] {
        let text = table(&format!("{name},x\n"), |i, x| format!("{},{x}\n", i / 3));
        let (recording, _) = check("x.csv", &text, &column("x"));
        assert!(!recording.channels[0].look.is_signal(), "{name}");
        assert_eq!(recording.sample_rate, None);
    }
    let text = table("level,x\n", |i, x| format!("{},{x}\n", i / 3));
    assert!(
        check("x.csv", &text, &column("x")).0.channels[0]
            .look
            .is_signal()
    );
}
