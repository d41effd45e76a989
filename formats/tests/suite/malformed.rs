//! Every error of the reader, provoked by a file made for it, with a message that names the field.

use crate::common::{Parts, entry, join, join_padded, offsets, small};
use sparsecode_formats::{
    Aligned, AlignedBytes, Dims, ModelFile, ReadError, Variant, WeightType, write,
};

/// A good file, to be damaged.
fn parts(weights: WeightType, one_hidden: bool) -> Parts {
    Parts::of(&write(&small(Variant::Vdl, one_hidden), weights).unwrap())
}

trait Read {
    fn read(&self) -> ReadError;
}

impl Read for Parts {
    fn read(&self) -> ReadError {
        ModelFile::read(&self.bytes())
            .map(|_| ())
            .expect_err(&self.header)
    }
}

fn i8() -> Parts {
    parts(WeightType::I8, false)
}

/// Asserts the error, and that its message has each of the words.
#[track_caller]
fn expect(found: ReadError, wanted: ReadError, words: &[&str]) {
    assert_eq!(found, wanted);
    let message = found.to_string();
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

#[test]
fn buffer() {
    let error = |bytes: &[u8]| ModelFile::read(bytes).map(|_| ()).unwrap_err();
    expect(
        error(&[]),
        ReadError::Truncated {
            needed: 8,
            found: 0,
        },
        &["header", "8 bytes"],
    );
    let short = Aligned(*b"\x10\0\0\0\0\0\0\0{}");
    expect(
        error(&short.0),
        ReadError::Truncated {
            needed: 24,
            found: 10,
        },
        &["header", "24", "10"],
    );
    let huge = Aligned([0xff; 16]);
    expect(
        error(&huge.0),
        ReadError::HeaderLength { length: u64::MAX },
        &["header length"],
    );
    let long = AlignedBytes::from_slice(&[&65537u64.to_le_bytes()[..], &[b' '; 65537]].concat());
    expect(
        error(&long),
        ReadError::HeaderLength { length: 65537 },
        &["header length", "65536"],
    );

    let file = write(&small(Variant::Vdl, false), WeightType::I8).unwrap();
    for shift in [1, 2, 3, 5] {
        let shifted = AlignedBytes::from_slice(&[&vec![0; shift][..], &file].concat());
        let wanted = ReadError::MisalignedBuffer { remainder: shift };
        expect(
            error(&shifted[shift..]),
            wanted,
            &["buffer", "include_model!"],
        );
    }
    let shifted = AlignedBytes::from_slice(&[&[0; 4][..], &file].concat());
    assert!(ModelFile::read(&shifted[4..]).is_ok(), "4 bytes are enough");
}

#[test]
fn header_text() {
    let mut latin1 = join(&i8().header, &i8().data).to_vec();
    let at = latin1
        .windows(2)
        .position(|pair| pair == "σ".as_bytes())
        .unwrap();
    latin1[at] = 0xe9;
    let error = ModelFile::read(&AlignedBytes::from_slice(&latin1)).unwrap_err();
    expect(
        error,
        ReadError::HeaderUtf8 { position: at - 8 },
        &["header", "UTF-8"],
    );

    let deep = "[".repeat(30_000);
    let cases: [(&str, Parts); 16] = [
        (
            "an object",
            Parts {
                header: "[]".into(),
                data: vec![],
            },
        ),
        (
            "a string",
            Parts {
                header: "{1:2}".into(),
                data: vec![],
            },
        ),
        (
            "a colon",
            i8().replace("\"encoder.bias\":", "\"encoder.bias\""),
        ),
        (
            "a comma",
            i8().replace("},\"encoder.bias\"", "}\"encoder.bias\""),
        ),
        ("a string", i8().replace("\"5\"", "5")),
        (
            "a string",
            i8().replace("\"lambda\":\"0.02\"", "\"lambda\":{}"),
        ),
        (
            "escapes",
            i8().replace("encoder.bias", "encoder.\\u0062ias"),
        ),
        ("escapes", i8().replace("natural", "nat\nural")),
        ("an array", i8().replace("\"shape\":[5]", "\"shape\":5")),
        (
            "unsigned integer",
            i8().replace("\"shape\":[5]", "\"shape\":[-5]"),
        ),
        ("a comma", i8().replace("\"shape\":[5]", "\"shape\":[5.0]")),
        (
            "unsigned integer",
            i8().replace("\"shape\":[5]", &format!("\"shape\":{deep}")),
        ),
        (
            "unsigned integer",
            i8().replace("\"shape\":[5]", "\"shape\":[18446744073709551616]"),
        ),
        (
            "two data_offsets",
            i8().move_to("encoder.bias", 0, 20)
                .in_tensor("encoder.bias", "[0,20]", "[0,20,20]"),
        ),
        (
            "only dtype",
            i8().in_tensor("encoder.bias", "\"dtype\"", "\"kind\":\"x\",\"dtype\""),
        ),
        ("the end", i8().replace("}}", "}}}")),
    ];
    for (wanted, parts) in cases {
        let error = parts.read();
        assert!(
            matches!(error, ReadError::HeaderJson { .. }),
            "{wanted}: {error:?}"
        );
        let message = error.to_string();
        assert!(
            message.contains(wanted) && message.contains("header at byte"),
            "{wanted}: {message}"
        );
    }
}

#[test]
fn header_fields() {
    let header = i8().header.replace("__metadata__", "metadata");
    // Without the name it is a tensor, and a wrong one.
    assert!(matches!(
        Parts { header, ..i8() }.read(),
        ReadError::HeaderJson { .. }
    ));
    let error = Parts {
        header: "{}".into(),
        data: vec![],
    }
    .read();
    expect(
        error,
        ReadError::MissingField {
            tensor: "header",
            field: "__metadata__",
        },
        &["__metadata__"],
    );
    let error = i8()
        .replace(
            "{\"__metadata__\":",
            "{\"__metadata__\":{},\"__metadata__\":",
        )
        .read();
    expect(
        error,
        ReadError::DuplicateField {
            tensor: "header",
            field: "__metadata__",
        },
        &["__metadata__", "twice"],
    );
    for (field, value) in [
        ("dtype", "\"F32\""),
        ("shape", "[5]"),
        ("data_offsets", "[48,68]"),
    ] {
        let pair = format!("\"{field}\":{value}");
        let mut missing = i8().in_tensor("encoder.bias", &pair, "");
        for (from, to) in [("{,", "{"), (",,", ","), (",}", "}")] {
            missing.header = missing.header.replace(from, to);
        }
        let error = missing.read();
        expect(
            error,
            ReadError::MissingField {
                tensor: "encoder.bias",
                field,
            },
            &["encoder.bias", field],
        );
        let error = i8()
            .in_tensor("encoder.bias", &pair, &format!("{pair},{pair}"))
            .read();
        expect(
            error,
            ReadError::DuplicateField {
                tensor: "encoder.bias",
                field,
            },
            &["encoder.bias", field],
        );
    }
}

#[test]
fn metadata() {
    let keys = [
        "atom_norm",
        "checksum",
        "code_dim",
        "commit",
        "config_hash",
        "contrast",
        "data",
        "deviation",
        "epoch",
        "format",
        "hidden_dim",
        "input_shape",
        "lambda",
        "lista_iterations",
        "mean",
        "peak",
        "seed",
        "step_size",
        "variant",
        "version",
        "weights",
    ];
    for key in keys {
        let error = i8()
            .replace(&format!("\"{key}\":"), &format!("\"x-{key}\":"))
            .read();
        expect(
            error,
            ReadError::MissingMetadata { key },
            &["metadata key", key],
        );
        let error = i8()
            .replace(
                &format!("\"{key}\":"),
                &format!("\"{key}\":\"1\",\"{key}\":"),
            )
            .read();
        expect(
            error,
            ReadError::DuplicateMetadata { key },
            &["metadata key", key, "twice"],
        );
    }
    let bad: [(&str, &[&str]); 19] = [
        ("format", &["", "safetensors"]),
        ("version", &["", "one", "-1", "1.0", "99999999999"]),
        ("variant", &["", "VDL", "vdl-nl"]),
        ("input_shape", &["", "0", "3x0", "300x300", "3x4x1", "-3x4"]),
        ("code_dim", &["", "0", "65536", "-5", "5.0", " 5"]),
        ("hidden_dim", &["", "65536", "none"]),
        ("lista_iterations", &["", "256", "None", "none"]),
        // Signed codes are nothing for a model with an encoder.
        ("codes", &["", "Signed", "positive", "signed"]),
        ("lambda", &["", "nan", "inf", "-0.1", "0,02"]),
        ("atom_norm", &["0", "-1", "inf", "nan"]),
        ("step_size", &["0", "-1", "inf", "1e-60", "1e60"]),
        ("weights", &["", "I8", "u8"]),
        ("mean", &["nan", "-inf", "x"]),
        ("deviation", &["0", "-1", "nan", "inf"]),
        (
            "contrast",
            &[
                "",
                "lcn",
                "local:12:5:1",
                "standardize:-1",
                "local:13:5:1:1",
            ],
        ),
        ("peak", &["0", "-1", "nan", "inf"]),
        ("seed", &["", "-1", "18446744073709551616"]),
        ("epoch", &["", "4294967296"]),
        (
            "checksum",
            &["", "123", "0123456789", "+1234567", "ABCDEF01", "xyzxyzxy"],
        ),
    ];
    for (key, values) in bad {
        for value in values {
            let error = i8().metadata(key, value).read();
            assert!(
                matches!(error, ReadError::InvalidMetadata { key: k, .. } if k == key),
                "{key}={value}: {error:?}"
            );
            assert!(
                error.to_string().contains(&format!("metadata key {key}")),
                "{error}"
            );
        }
    }
    let error = i8().metadata("variant", "do").read();
    assert!(error.to_string().contains("lista_iterations"), "{error}");
    // A later version is named even if it has tensors of its own.
    let error = i8()
        .metadata("version", "2")
        .replace("encoder.bias", "encoder.gain")
        .read();
    expect(
        error,
        ReadError::UnsupportedVersion { found: 2 },
        &["version is 2"],
    );
}

#[test]
fn tensors() {
    let error = i8().replace("\"encoder.bias\"", "\"encoder.gain\"").read();
    assert!(
        matches!(error, ReadError::UnknownTensor { name } if name.as_str() == "encoder.gain"),
        "{error:?}"
    );
    assert!(error.to_string().contains("encoder.gain"));
    let error = i8()
        .replace("\"encoder.bias\"", &format!("\"{}\"", "ä".repeat(40)))
        .read();
    assert!(
        matches!(error, ReadError::UnknownTensor { name } if name.as_str() == "ä".repeat(16)),
        "{error:?}"
    );

    let all = i8();
    for tensor in [
        "encoder.input",
        "encoder.input.scale",
        "encoder.bias",
        "encoder.recurrent",
        "encoder.recurrent.scale",
        "decoder.dictionary",
        "decoder.dictionary.scale",
    ] {
        let old = entry(&all.header, tensor).to_owned();
        let error = i8().replace(&format!(",{old}"), "").read();
        expect(
            error,
            ReadError::MissingTensor { tensor },
            &[tensor, "missing"],
        );
        let error = i8().replace(&old, &format!("{old},{old}")).read();
        expect(
            error,
            ReadError::DuplicateTensor { tensor },
            &[tensor, "twice"],
        );
        let error = i8()
            .in_tensor(tensor, "\"dtype\":\"", "\"dtype\":\"B")
            .read();
        assert!(
            matches!(error, ReadError::Dtype { tensor: t, .. } if t == tensor),
            "{error:?}"
        );
        assert!(error.to_string().contains(tensor));
        let error = i8()
            .in_tensor(tensor, "\"shape\":[", "\"shape\":[1,")
            .read();
        assert!(
            matches!(error, ReadError::Shape { tensor: t, .. } if t == tensor),
            "{error:?}"
        );
        assert!(error.to_string().contains(tensor));
    }
    let error = i8().replace("[5,12]", "[12,5]").read();
    let (expected, found) = (Dims::Matrix(5, 12), Dims::Matrix(12, 5));
    expect(
        error,
        ReadError::Shape {
            tensor: "decoder.dictionary",
            expected,
            found,
        },
        &["[5, 12]", "[12, 5]"],
    );
    for (shape, found) in [
        ("[]", Dims::Rank(0)),
        ("[1,5,12]", Dims::Rank(3)),
        ("[60]", Dims::Vector(60)),
    ] {
        let error = i8().in_tensor("decoder.dictionary", "[5,12]", shape).read();
        expect(
            error,
            ReadError::Shape {
                tensor: "decoder.dictionary",
                expected,
                found,
            },
            &["dictionary"],
        );
    }
    // Tensors of another kind of model.
    let error = i8()
        .metadata("variant", "do")
        .metadata("lista_iterations", "none")
        .read();
    expect(
        error,
        ReadError::UnexpectedTensor {
            tensor: "encoder.input",
        },
        &["encoder.input"],
    );
    let error = parts(WeightType::I8, true)
        .metadata("hidden_dim", "0")
        .read();
    expect(
        error,
        ReadError::MissingTensor {
            tensor: "decoder.dictionary",
        },
        &["dictionary"],
    );
    let error = i8().metadata("weights", "i16").read();
    assert!(
        matches!(
            error,
            ReadError::Dtype {
                tensor: "encoder.input",
                expected: "I16",
                ..
            }
        ),
        "{error:?}"
    );
    // Dimensions whose product is beyond the address space of a small device.
    let error = i8()
        .metadata("input_shape", "65535")
        .metadata("code_dim", "65535")
        .read();
    assert!(
        matches!(
            error,
            ReadError::Shape {
                tensor: "encoder.input",
                ..
            }
        ),
        "{error:?}"
    );
}

#[test]
fn places() {
    let tensor = "encoder.bias"; // 20 bytes at 48, of 253
    let at = |begin, end| i8().move_to(tensor, begin, end).read();
    let total = i8().data.len();
    for (begin, end) in [
        (48, 64),
        (48, 72),
        (68, 48),
        (240, 260),
        (u64::MAX - 19, u64::MAX),
        (0, u64::MAX),
    ] {
        let wanted = ReadError::Offsets {
            tensor,
            begin,
            end,
            expected: 20,
            available: total,
        };
        expect(
            at(begin, end),
            wanted,
            &[tensor, "data_offsets", "20 bytes"],
        );
    }
    let wanted = ReadError::Overlap {
        tensor,
        other: "encoder.input.scale",
    };
    expect(
        at(68, 88),
        wanted,
        &[tensor, "overlaps", "encoder.input.scale"],
    );
    assert!(matches!(at(40, 60), ReadError::Overlap { other: _, .. }));
    assert_eq!(
        at(50, 70),
        ReadError::MisalignedTensor {
            tensor,
            alignment: 4
        }
    );
    assert!(at(50, 70).to_string().contains(tensor));

    // Four bytes that belong to nobody: before the tensors, between them, after them.
    let moved = |tensors: &[&str], mut parts: Parts| {
        let mut place = parts.data.len();
        for tensor in tensors {
            let range = offsets(&parts.header, tensor);
            place = place.min(range.start);
            parts = parts.move_to(tensor, range.start as u64 + 4, range.end as u64 + 4);
        }
        parts.data.splice(place..place, [0; 4]);
        parts.read()
    };
    let order = [
        "encoder.recurrent",
        "encoder.input",
        "decoder.dictionary",
        "encoder.recurrent.scale",
        "encoder.input.scale",
        "encoder.bias",
        "decoder.dictionary.scale",
    ];
    for count in 1..=order.len() {
        let wanted = ReadError::Gap {
            tensor: order[count - 1],
            bytes: 4,
        };
        expect(
            moved(&order[..count], i8()),
            wanted,
            &[order[count - 1], "4 unused bytes"],
        );
    }
    expect(
        moved(&[], i8()),
        ReadError::TrailingData { bytes: 4 },
        &["4 unused bytes", "last tensor"],
    );

    // The header's length decides where everything lies.
    let Parts { header, data } = i8();
    let odd = join_padded(&header, &data, header.len().next_multiple_of(8) + 2);
    let error = ModelFile::read(&odd).unwrap_err();
    assert!(
        matches!(error, ReadError::MisalignedTensor { alignment: 4, .. }),
        "{error:?}"
    );
    let cut = join(&header, &data[..total - 1]);
    assert!(matches!(
        ModelFile::read(&cut),
        Err(ReadError::Offsets {
            tensor: "encoder.recurrent",
            ..
        })
    ));
}

#[test]
fn numbers() {
    let f32s = || parts(WeightType::F32, true);
    for tensor in [
        "encoder.input",
        "encoder.bias",
        "encoder.recurrent",
        "decoder.hidden",
        "decoder.hidden_bias",
        "decoder.output",
    ] {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = f32s().poke(tensor, 3, &bad.to_le_bytes()).read();
            expect(
                error,
                ReadError::NonFinite { tensor, index: 3 },
                &[tensor, "NaN or infinity at 3"],
            );
        }
    }
    for tensor in [
        "encoder.input.scale",
        "encoder.recurrent.scale",
        "decoder.dictionary.scale",
    ] {
        for bad in [0.0f32, -0.0, -1.0] {
            let error = i8().poke(tensor, 4, &bad.to_le_bytes()).read();
            expect(
                error,
                ReadError::Scale { tensor, index: 4 },
                &[tensor, "at 4"],
            );
        }
        let error = i8().poke(tensor, 4, &f32::NAN.to_le_bytes()).read();
        expect(error, ReadError::NonFinite { tensor, index: 4 }, &[tensor]);
    }
    for tensor in ["encoder.input", "encoder.recurrent", "decoder.dictionary"] {
        let error = i8().poke(tensor, 24, &i8::MIN.to_le_bytes()).read();
        expect(
            error,
            ReadError::Level { tensor, index: 24 },
            &[tensor, "at 24"],
        );
        let error = parts(WeightType::I16, false)
            .poke(tensor, 24, &i16::MIN.to_le_bytes())
            .read();
        expect(
            error,
            ReadError::Level { tensor, index: 24 },
            &[tensor, "at 24"],
        );
    }
}

#[test]
fn checksum() {
    let parts = i8();
    let last = parts.data.len() - 1;
    let mut data = parts.data.clone();
    data[last] ^= 1;
    let file = join(&parts.header, &data);
    let error = ModelFile::read(&file)
        .unwrap()
        .verify_checksum()
        .unwrap_err();
    assert!(matches!(error, ReadError::Checksum { stored, computed } if stored != computed));
    assert!(error.to_string().contains("checksum"));
}
