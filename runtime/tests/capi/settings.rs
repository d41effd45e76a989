//! Settings: those of a model, and those that are refused.

use sparsecode_runtime::capi::{self, *};
use sparsecode_runtime::{ModelView, Refine, Start};

use crate::api::{Api, Program};
use crate::float::{Float, SHAPES, float_file, settings_of};
use crate::integer::Integer;

use sparsecode_status as Status;

#[test]
fn settings_are_the_models() {
    for shape in SHAPES {
        let bytes = float_file(shape);
        let view = ModelView::load(bytes).unwrap();
        let c = Program::<Float>::new(bytes);
        let settings = settings_of(&c.model);
        assert_eq!(
            Refine::try_from(&settings),
            Ok(Refine::for_model(view.spec()))
        );
        let mut settings = settings;
        done!(sparsecode_settings_for_noise(
            &raw const c.model,
            0.3,
            &raw mut settings
        ));
        assert_eq!(
            Refine::try_from(&settings),
            Ok(Refine::for_noise(view.spec(), 0.3))
        );
        for (start, expected) in [
            (sparsecode_start::Code, Start::Code),
            (sparsecode_start::Zero, Start::Zero),
            (sparsecode_start::Constant, Start::Constant(0.25)),
        ] {
            (settings.start, settings.start_value) = (start as i32, 0.25);
            assert_eq!(Refine::try_from(&settings).unwrap().start, expected);
        }
        for start in [-1, 3, i32::MIN] {
            settings.start = start;
            assert_eq!(Refine::try_from(&settings), Err(Status::InvalidSetting));
        }
    }
}

/// What refining and denoising answer to the model's settings with a change, and what patch and how
/// many components there are afterwards, of a code that had none.
fn outcome<A: Api>(change: &dyn Fn(&mut A::Settings)) -> (Status, Vec<A::Number>, u16) {
    let mut c = Program::<A>::new(A::file());
    let mut settings = A::settings(&c.model);
    change(&mut settings);
    c.clear();
    let mut patch = A::samples(21);
    let arguments = c.arguments(&mut patch, &settings);
    let statuses = [arguments.refine(), arguments.denoise()];
    assert_eq!(statuses[0], statuses[1]);
    (statuses[0], patch, A::parts(&c.code).2)
}

/// Of settings that are not taken: nothing is changed.
fn refused<A: Api>() -> (Status, Vec<A::Number>, u16) {
    (Status::InvalidSetting, A::samples(21), 0)
}

#[test]
fn settings_out_of_range_are_refused() {
    let run = |change: &dyn Fn(&mut sparsecode_refine_settings)| {
        outcome::<Float>(&|by| {
            by.max_iterations = 1;
            change(by);
        })
    };
    let refused = refused::<Float>();
    for wrong in [
        -1.0,
        -f32::MIN_POSITIVE,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ] {
        assert_eq!(run(&|by| by.lambda = wrong), refused, "{wrong}");
        assert_eq!(run(&|by| by.step_size = wrong), refused, "{wrong}");
        assert_eq!(run(&|by| by.tolerance = wrong), refused, "{wrong}");
        let constant = |by: &mut sparsecode_refine_settings| {
            (by.start, by.start_value) = (sparsecode_start::Constant as i32, wrong);
        };
        assert_eq!(run(&constant), refused, "{wrong}");
        // Not looked at.
        assert_eq!(run(&|by| by.start_value = wrong).0, Status::Ok);

        let c = Program::<Float>::new(Float::file());
        let mut settings = settings_of(&c.model);
        settings.lambda = 77.0;
        let status = call!(sparsecode_settings_for_noise(
            &raw const c.model,
            wrong,
            &raw mut settings
        ));
        assert_eq!((status, settings.lambda), (Status::InvalidSetting, 77.0));
    }
    assert_eq!(run(&|by| by.step_size = 0.0), refused);
    assert_eq!(run(&|by| by.lambda = 0.0).0, Status::Ok);
    assert_eq!(run(&|by| by.tolerance = 0.0).0, Status::Ok);
    // Above the model's own: the caller's choice.
    assert_eq!(run(&|by| by.step_size *= 3.0).0, Status::Ok);
}

#[test]
fn settings_in_integers_out_of_range_are_refused() {
    let run = outcome::<Integer>;
    for wrong in [-1, i32::MIN] {
        let found = run(&|by| by.threshold = wrong);
        assert_eq!(found, refused::<Integer>(), "{wrong}");
    }
    assert_eq!(run(&|by| by.threshold = 0).0, Status::Ok);
    // A method that there is not.
    for method in [-1, 2, i32::MAX] {
        let found = run(&|by| by.method = method);
        assert_eq!(found, refused::<Integer>(), "{method}");
    }
    // More bits than there are count as all of them.
    let all = run(&|by| by.tolerance_bits = 31);
    assert_eq!(all.0, Status::Ok);
    assert_eq!(run(&|by| by.tolerance_bits = 255), all);
}
