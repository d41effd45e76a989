use super::*;

const NUMBERS: fn(NumberType) -> Stored = |number_type| Stored::Numbers { number_type };

/// A model that was trained on numbers of `low` to `high`.
fn known(low: f32, high: f32, number_type: NumberType) -> Known {
    let facts = InputFacts {
        range: Some([low, high]),
        sample_rate: Some(500.0),
        number_type: Some(number_type),
    };
    Known {
        facts,
        range: Some([low, high]),
        peak: high - low,
        deviation: 0.2 * (high - low),
        standardised: false,
        levels: None,
    }
}

fn integers(model: Known, scale: f32, most: f32) -> Known {
    let levels = Some(Levels {
        scale,
        range: [-most, most],
    });
    Known { levels, ..model }
}

fn raw(known: &Known, stored: Stored, values: &[f32], asked: &Asked) -> Vec<f32> {
    let (unit, _) = known.unit(stored, values, asked).unwrap();
    let mut raw = values.to_vec();
    unit.to_raw(&mut raw);
    raw
}

/// A wave of this amplitude.
fn wave(amplitude: f32) -> Vec<f32> {
    (0..1000)
        .map(|i| amplitude * (0.1 * i as f32).sin())
        .collect()
}

#[test]
fn a_wrong_unit_is_a_mismatch_and_a_loud_machine_is_not() {
    let pixels = known(0.0, 1.0, NumberType::U8);
    let digits: Vec<f32> = (0..784)
        .map(|i| if i % 5 == 0 { 200.0 } else { 0.0 })
        .collect();
    let scaled = |values: &[f32], by: f32| -> Vec<f32> { values.iter().map(|x| by * x).collect() };
    assert!(matches!(pixels.fit(&digits), Fit::Mismatch(_)));
    assert_eq!(pixels.fit(&scaled(&digits, 1.0 / 255.0)), Fit::Fits);
    // The other way round, and a flat dark or bright patch, which is nothing wrong.
    let levels = known(0.0, 255.0, NumberType::U8);
    assert!(matches!(
        levels.fit(&scaled(&digits, 1.0 / 255.0)),
        Fit::Mismatch(_)
    ));
    for flat in [0.0, 0.71] {
        assert_eq!(pixels.fit(&[flat; 64]), Fit::Fits);
    }
    let vibration = known(-0.3, 0.3, NumberType::F32);
    assert_eq!(vibration.fit(&wave(0.5)), Fit::Fits);
    assert!(matches!(vibration.fit(&wave(3.0)), Fit::Unusual(_)));
    assert!(matches!(vibration.fit(&wave(0.01)), Fit::Unusual(_)));
    // mV for V, levels of 16 bits for ±1, and the other way round.
    for factor in [1000.0, 32768.0, 0.001] {
        let Fit::Mismatch(how) = vibration.fit(&wave(0.3 * factor)) else {
            panic!("{factor}");
        };
        assert!(how.contains("-0.3 to 0.3"), "{how}");
    }
    // One glitch is no other unit, and kelvin are not degrees Celsius.
    let mut glitch = wave(0.3);
    glitch[7] = 1000.0;
    assert!(!matches!(vibration.fit(&glitch), Fit::Mismatch(_)));
    let celsius = known(20.0, 40.0, NumberType::F32);
    let kelvin: Vec<f32> = wave(5.0).iter().map(|x| x + 303.0).collect();
    assert!(matches!(celsius.fit(&kelvin), Fit::Mismatch(_)));
    let standardised = Known {
        standardised: true,
        ..vibration
    };
    assert!(matches!(standardised.fit(&wave(300.0)), Fit::Unusual(_)));
}

#[test]
fn the_range_of_the_input_is_the_models() {
    let asked = |low, high| Asked {
        range: Some([low, high]),
        unit: None,
    };
    let signal = known(-2.0, 2.0, NumberType::F32);
    let bytes = NUMBERS(NumberType::U8);
    let found = raw(&signal, bytes, &[0.0, 127.5, 255.0], &asked(0.0, 255.0));
    assert_eq!(found, [-2.0, 0.0, 2.0]);
    // Pictures of [0, 1] mean these ends, also if no pixel was quite white.
    let mut pixels = known(0.02, 0.97, NumberType::U8);
    pixels.peak = 1.0;
    assert_eq!(
        raw(&pixels, bytes, &[0.0, 255.0], &asked(0.0, 255.0)),
        [0.0, 1.0]
    );
    // Of a picture, levels count.
    let picture = Stored::Picture { levels: 65535.0 };
    let found = raw(&signal, picture, &[0.0, 1.0], &asked(0.0, 65535.0));
    assert_eq!(found, [-2.0, 2.0]);
    let old = Known {
        facts: InputFacts::default(),
        ..signal
    };
    let error = old.unit(bytes, &[0.0], &asked(0.0, 255.0)).unwrap_err();
    assert!(error.0.contains("export the model again"), "{error}");
}

#[test]
fn weights_of_unknown_data_are_compared_with_nothing() {
    let known = known(-1.0, 1.0, NumberType::F32);
    assert!(matches!(known.fit(&[200.0; 9]), Fit::Mismatch(_)));
    let imported = Known {
        facts: InputFacts::default(),
        range: None,
        ..known
    };
    assert_eq!(imported.fit(&[200.0; 9]), Fit::Fits);
    assert_eq!(imported.fit_range([0.0, 200.0]), Fit::Fits);
}

#[test]
fn the_advice_on_a_range_is_right_as_it_stands() {
    let bytes = NUMBERS(NumberType::U8);
    let pixels = Known {
        peak: 1.0,
        ..known(0.1, 0.9, NumberType::F32)
    };
    // (model, its ends, whether 0,255 is the advice for bytes)
    for (model, ends, is_full) in [
        (pixels, [0.0, 1.0], true),
        (known(3.0, 200.0, NumberType::U8), [0.0, 255.0], true),
        (known(7000.0, 9000.0, NumberType::U16), [0.0, 65535.0], true),
        (known(0.25, 0.75, NumberType::F32), [0.25, 0.75], false),
        (known(0.25, 0.75, NumberType::U8), [0.25, 0.75], false),
        (known(3.0, 200.0, NumberType::F32), [3.0, 200.0], false),
    ] {
        let asked = Asked {
            range: Some([0.0, 255.0]),
            unit: None,
        };
        let found = raw(&model, bytes, &[0.0, 255.0], &asked);
        assert!((found[0] - ends[0]).abs() + (found[1] - ends[1]).abs() < 1e-3);
        let advice = model.remedy(bytes);
        assert_eq!(advice.contains("--input-range 0,255"), is_full, "{advice}");
        let [low, high] = ends;
        assert!(advice.contains(&format!("{low} and {high}")), "{advice}");
    }
}

#[test]
fn ranges_differ_by_a_factor_of_twenty() {
    let model = known(-0.3, 0.3, NumberType::F32);
    for (range, differs) in [
        ([-0.3, 0.3], false),
        ([-3.0, 3.0], false),
        ([-0.03, 0.03], false),
        ([-300.0, 300.0], true),
        ([-3e-4, 3e-4], true),
        ([0.1, 0.1], false),
        ([273.0, 274.0], true),
    ] {
        let fit = model.fit_range(range);
        assert_eq!(matches!(fit, Fit::Mismatch(_)), differs, "{range:?}");
    }
    let celsius = known(20.0, 40.0, NumberType::F32);
    assert!(matches!(
        celsius.fit_range([298.0, 308.0]),
        Fit::Mismatch(_)
    ));
}

#[test]
fn black_and_white_are_those_of_the_training() {
    let levels = 255.0;
    let picture = Stored::Picture { levels };
    let white = |known: &Known| {
        let chosen = known.unit(picture, &[], &Asked::default());
        chosen.map(|(unit, note)| (unit.scale, note.is_some()))
    };
    let mut pixels = known(0.1, 0.13, NumberType::U16);
    pixels.peak = 1.0;
    assert_eq!(white(&pixels), Ok((1.0, false)));
    assert_eq!(
        white(&known(3.0, 250.0, NumberType::F32)),
        Ok((255.0, true))
    );
    assert_eq!(
        white(&known(7000.0, 9000.0, NumberType::U16)),
        Ok((65535.0, true))
    );
    assert_eq!(white(&known(0.0, 90.0, NumberType::U8)), Ok((255.0, true)));
    // Degrees, or numbers around 0, are no levels of a picture.
    for other in [
        known(20.0, 40.0, NumberType::F32),
        known(-1.0, 1.0, NumberType::F32),
    ] {
        let error = white(&other).unwrap_err();
        assert!(error.0.contains("--input-range"), "{error}");
    }
}

#[test]
fn integers_for_a_model_in_integers_are_levels() {
    let model = |number_type| integers(known(-1.0, 1.0, number_type), 1e-4, 20_000.0);
    let values: Vec<f32> = (0..8).map(|i| 1600.0 * i as f32).collect();
    let asked = |unit| Asked { range: None, unit };
    let as_levels: Vec<f32> = values.iter().map(|x| x * 1e-4).collect();
    let sixteen = NUMBERS(NumberType::I16);
    for trained in [NumberType::F32, NumberType::Text, NumberType::I16] {
        assert_eq!(
            raw(&model(trained), sixteen, &values, &asked(None)),
            as_levels
        );
    }
    let force = |unit| {
        raw(
            &model(NumberType::F32),
            sixteen,
            &values,
            &asked(Some(unit)),
        )
    };
    assert_eq!(force(InputUnit::Raw), values);
    assert_eq!(force(InputUnit::Levels), as_levels);
    // Numbers as those of the training, in their own type, are raw; others are no levels.
    let own = [1.0, 0.0, -1.0, 1.0];
    assert_eq!(
        raw(&model(NumberType::I16), sixteen, &own, &asked(None)),
        own
    );
    let large = [30_000.0; 4];
    assert_eq!(
        raw(
            &model(NumberType::F32),
            NUMBERS(NumberType::U16),
            &large,
            &asked(None)
        ),
        large
    );
    let float = NUMBERS(NumberType::F32);
    assert_eq!(
        raw(&model(NumberType::F32), float, &values, &asked(None)),
        values
    );
    let plain = known(-1.0, 1.0, NumberType::F32);
    assert_eq!(raw(&plain, sixteen, &values, &asked(None)), values);
    let error = plain.unit(sixteen, &values, &asked(Some(InputUnit::Levels)));
    assert!(error.unwrap_err().0.contains("in integers"));
    // Sound counts in levels of its own.
    let sound = Stored::sound(NumberType::I16);
    let found = raw(
        &model(NumberType::F32),
        sound,
        &[0.5],
        &asked(Some(InputUnit::Levels)),
    );
    assert_eq!(found, [16384.0 * 1e-4]);
}

#[test]
fn rates_differ_by_more_than_rounding() {
    let model = known(-1.0, 1.0, NumberType::F32);
    for (rate, differs) in [
        (Some(500.0), false),
        (Some(500.2), false),
        (None, false),
        (Some(501.0), true),
        (Some(250.0), true),
    ] {
        assert_eq!(model.rate_mismatch(rate).is_some(), differs, "{rate:?}");
    }
}
