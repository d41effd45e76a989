//! The functions for C (feature `capi`): the results of the Rust API, and an answer to what is wrong.
#![cfg(all(feature = "capi", feature = "std"))]
#![allow(unsafe_code, reason = "the functions are called as C calls them")]

mod common;

use std::collections::HashSet;
use std::ffi::{CStr, c_int, c_void};
use std::ptr::{null, null_mut};

use common::{Random, Shape, file, random_model};
use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, Contrast, IntegerFile, OwnedModel, WeightType,
    write_integer, write_integer_as,
};
use sparsecode_runtime::capi::{self, *};
use sparsecode_runtime::{
    CodeBuffer, IntegerRefine, IntegerView, Method, ModelView, Normalisation, Refine,
    SparseCodeBuf, Start, Stop, WorkspaceBuf,
};

use sparsecode_status as Status;

/// Calls a function as C does.
macro_rules! call {
    ($function:ident($($argument:expr),* $(,)?)) => {{
        // SAFETY: pointers are null, misaligned, or of live memory as long as the length beside them; the tests write nothing else.
        unsafe { capi::$function($($argument),*) }
    }};
}

/// Calls it and asks for success.
macro_rules! done {
    ($function:ident($($argument:expr),* $(,)?)) => {
        assert_eq!(call!($function($($argument),*)), Status::Ok)
    };
}

const LINEAR: Shape = Shape {
    input: 21,
    code: 13,
    hidden: 0,
    lista: Some(3),
};

const SHAPES: [Shape; 4] = [
    LINEAR,
    Shape {
        lista: None,
        ..LINEAR
    },
    Shape {
        hidden: 10,
        ..LINEAR
    },
    Shape {
        hidden: 10,
        lista: None,
        ..LINEAR
    },
];

/// Memory with a word before and behind it that nobody may write.
struct Guarded<T> {
    cells: Vec<T>,
    mark: T,
}

impl<T: Copy + PartialEq + std::fmt::Debug> Guarded<T> {
    fn new(length: usize, mark: T) -> Self {
        Self {
            cells: vec![mark; length + 8],
            mark,
        }
    }

    fn start(&mut self) -> *mut T {
        // Four elements keep the alignment of the allocation.
        self.cells[4..].as_mut_ptr()
    }

    fn check(&self) {
        let (front, rest) = self.cells.split_at(4);
        for cell in front.iter().chain(&rest[rest.len() - 4..]) {
            assert_eq!(*cell, self.mark);
        }
    }
}

/// What a program in C has for a model.
struct Program {
    model: sparsecode_model,
    indices: Guarded<u16>,
    values: Guarded<f32>,
    workspace: Guarded<u32>,
    workspace_bytes: usize,
    code: sparsecode_code,
}

impl Program {
    fn new(bytes: &'static [u8]) -> Self {
        let mut model = sparsecode_model::default();
        done!(sparsecode_model_load(
            &raw mut model,
            bytes.as_ptr().cast(),
            bytes.len()
        ));
        let mut info = sparsecode_model_info::default();
        done!(sparsecode_model_get_info(&raw const model, &raw mut info));
        let code_dim = info.code_dim as usize;
        let mut program = Self {
            model,
            indices: Guarded::new(code_dim, 0xabcd),
            values: Guarded::new(code_dim, -7.0),
            // Not even a number, if read.
            workspace: Guarded::new(info.workspace_bytes / 4, 0x7fc0_1234),
            workspace_bytes: info.workspace_bytes,
            code: sparsecode_code {
                indices: null_mut(),
                values: null_mut(),
                capacity: info.code_dim as u16,
                active: 999,
            },
        };
        program.code.indices = program.indices.start();
        program.code.values = program.values.start();
        program
    }

    fn workspace(&mut self) -> *mut c_void {
        self.workspace.start().cast()
    }

    fn assert_code(&self, expected: &SparseCodeBuf) {
        let active = usize::from(self.code.active);
        assert_eq!(&self.indices.cells[4..4 + active], expected.indices());
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let found = &self.values.cells[4..4 + active];
        assert_eq!(bits(found), bits(expected.values()));
    }

    fn check(&self) {
        self.indices.check();
        self.values.check();
        self.workspace.check();
    }
}

/// A file that lives as long as the test's process, as one in flash does.
fn leaked(bytes: AlignedBytes) -> &'static [u8] {
    Box::leak(Box::new(bytes))
}

fn float_file(shape: Shape) -> &'static [u8] {
    leaked(file(&random_model(shape, 5), WeightType::I8))
}

fn samples(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..count).map(|_| 0.5 + 0.4 * random.next()).collect()
}

#[test]
fn every_step_gives_the_bits_of_rust() {
    for shape in SHAPES {
        let bytes = float_file(shape);
        let view = ModelView::load(bytes).unwrap();
        let mut expected = SparseCodeBuf::new(shape.code as u16);
        let mut rust = WorkspaceBuf::for_model(view.spec());
        let mut c = Program::new(bytes);
        let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
        let model = c.model;
        for seed in 0..4 {
            let raw = samples(shape.input, seed);
            let (mut patch, mut found) = (raw.clone(), raw.clone());
            let length = found.len();
            let normalisation = view.preprocess(&mut patch).unwrap();
            let mut given = sparsecode_normalisation {
                mean: 0.0,
                deviation: 0.0,
            };
            done!(sparsecode_preprocess(
                &raw const model,
                found.as_mut_ptr(),
                length,
                &raw mut given
            ));
            assert_eq!(found, patch);
            assert_eq!(Normalisation::from(given), normalisation);

            view.encode(&patch, &mut expected, &mut rust).unwrap();
            done!(sparsecode_encode(
                &raw const model,
                found.as_ptr(),
                length,
                &raw mut c.code,
                workspace,
                bytes
            ));
            c.assert_code(&expected);

            let mut settings = settings_of(&model);
            settings.max_iterations = 7;
            settings.tolerance = 0.0;
            let refine = Refine {
                max_iterations: 7,
                tolerance: 0.0,
                ..Refine::for_model(view.spec())
            };
            let done = view
                .refine(&patch, &mut expected, &refine, &mut rust, || false)
                .unwrap();
            let mut refinement = refinement_of_nothing();
            done!(sparsecode_refine(
                &raw const model,
                found.as_ptr(),
                length,
                &raw mut c.code,
                &raw const settings,
                workspace,
                bytes,
                &raw mut refinement
            ));
            c.assert_code(&expected);
            assert_eq!(refinement, done.into());
            assert_eq!(refinement.stopped, sparsecode_stop::Budget);

            view.decode(&expected, &mut patch, &mut rust).unwrap();
            done!(sparsecode_decode(
                &raw const model,
                &raw const c.code,
                found.as_mut_ptr(),
                length,
                workspace,
                bytes
            ));
            assert_eq!(found, patch);
            view.restore(&mut patch, normalisation).unwrap();
            done!(sparsecode_restore(
                &raw const model,
                found.as_mut_ptr(),
                length,
                &raw const given
            ));
            assert_eq!(found, patch);

            for refine in [None, Some(&refine)] {
                patch.copy_from_slice(&raw);
                found.copy_from_slice(&raw);
                let done = view
                    .denoise(&mut patch, refine, &mut expected, &mut rust, || false)
                    .unwrap();
                let mut refinement = refinement_of_nothing();
                done!(sparsecode_denoise(
                    &raw const model,
                    found.as_mut_ptr(),
                    length,
                    refine.map_or(null(), |_| &raw const settings),
                    &raw mut c.code,
                    workspace,
                    bytes,
                    &raw mut refinement
                ));
                assert_eq!(found, patch);
                c.assert_code(&expected);
                let expected = done.refinement.map_or(refinement_of_nothing(), Into::into);
                assert_eq!(refinement, expected);
            }
            c.check();
        }
    }
}

fn settings_of(model: &sparsecode_model) -> sparsecode_refine_settings {
    let mut settings = sparsecode_refine_settings {
        lambda: 0.0,
        step_size: 0.0,
        max_iterations: 0,
        tolerance: 0.0,
        start: 77,
        start_value: 0.0,
        deadline: None,
        context: null_mut(),
    };
    done!(sparsecode_settings_for_model(model, &raw mut settings));
    settings
}

fn refinement_of_nothing() -> sparsecode_refinement {
    sparsecode_refinement {
        iterations: 12345,
        stopped: sparsecode_stop::Converged,
        residual: -1.0,
        energy: -1.0,
    }
}

#[test]
fn local_contrast_is_left_to_the_caller() {
    let mut model = random_model(LINEAR, 5);
    model.spec.preprocessing.contrast = Contrast::Local {
        window: 5,
        sigma: 2.0,
        floor: 0.1,
    };
    let c = Program::new(leaked(file(&model, WeightType::I8)));
    let mut patch = samples(21, 4);
    let before = patch.clone();
    let mut normalisation = sparsecode_normalisation {
        mean: 9.0,
        deviation: 9.0,
    };
    done!(sparsecode_preprocess(
        &raw const c.model,
        patch.as_mut_ptr(),
        21,
        &raw mut normalisation
    ));
    assert_eq!((normalisation.mean, normalisation.deviation), (0.0, 0.0));
    done!(sparsecode_restore(
        &raw const c.model,
        patch.as_mut_ptr(),
        21,
        &raw const normalisation
    ));
    assert_eq!(patch, before);
}

#[test]
fn settings_are_the_models() {
    for shape in SHAPES {
        let bytes = float_file(shape);
        let view = ModelView::load(bytes).unwrap();
        let c = Program::new(bytes);
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

#[test]
fn information_is_the_files() {
    let bytes = float_file(SHAPES[2]);
    let view = ModelView::load(bytes).unwrap();
    let c = Program::new(bytes);
    let mut info = sparsecode_model_info::default();
    done!(sparsecode_model_get_info(&raw const c.model, &raw mut info));
    assert_eq!(
        info,
        sparsecode_model_info {
            input_dim: 21,
            height: 1,
            width: 21,
            code_dim: 13,
            hidden_dim: 10,
            has_encoder: 1,
            has_signed_codes: 0,
            checksum: view.file().checksum(),
            mean: 0.4,
            deviation: 0.3,
            peak: 1.0,
            file_bytes: bytes.len(),
            workspace_bytes: 4 * (21 + 2 * 13 + 10),
        }
    );
}

/// Ends at the question of this number.
unsafe extern "C" fn at(context: *mut c_void) -> c_int {
    // SAFETY: the tests hand in a counter.
    let left = unsafe { &mut *context.cast::<u32>() };
    *left -= 1;
    // Any number but 0 will do.
    if *left == 0 { -5 } else { 0 }
}

#[test]
fn a_deadline_ends_a_refinement() {
    let mut c = Program::new(float_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let patch = samples(21, 3);
    let mut questions = 4_u32;
    let mut settings = settings_of(&c.model);
    settings.start = sparsecode_start::Zero as i32;
    settings.tolerance = 0.0;
    settings.deadline = Some(at);
    settings.context = (&raw mut questions).cast();
    let mut refinement = refinement_of_nothing();
    done!(sparsecode_refine(
        &raw const c.model,
        patch.as_ptr(),
        21,
        &raw mut c.code,
        &raw const settings,
        workspace,
        bytes,
        &raw mut refinement
    ));
    assert_eq!(
        (refinement.iterations, refinement.stopped, questions),
        (3, Stop::Deadline.into(), 0)
    );
    c.check();
}

#[test]
fn files_that_are_none_are_refused_and_leave_no_model() {
    let good = float_file(LINEAR);
    let integers = integer_file(LINEAR);
    let mut longer = good.to_vec();
    longer.extend([0; 12]);
    let longer = AlignedBytes::from_slice(&longer);
    let mut version = good.to_vec();
    let place = version
        .windows(13)
        .position(|text| text == b"\"version\":\"1\"")
        .unwrap();
    version[place + 11] = b'9';
    let version = AlignedBytes::from_slice(&version);
    let mut shape = good.to_vec();
    let place = shape
        .windows(15)
        .position(|text| text == b"\"code_dim\":\"13\"")
        .unwrap();
    shape[place + 13] = b'4';
    let shape = AlignedBytes::from_slice(&shape);
    let cases: [(&[u8], Status); 7] = [
        (&good[..100], Status::NotAModel),
        (&good[..0], Status::NotAModel),
        (&good[..good.len() - 1], Status::InvalidModel),
        (&longer, Status::TrailingData),
        (integers, Status::OtherArithmetic),
        (&version, Status::Version),
        (&shape, Status::InvalidModel),
    ];
    for (bytes, expected) in cases {
        let mut model = Program::new(good).model;
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        let status = call!(sparsecode_model_load(&raw mut model, start, length));
        assert_eq!(status, expected, "{length} bytes");
        let status = call!(sparsecode_model_verify_checksum(&raw const model));
        assert_eq!(status, Status::NotLoaded);
    }
    let mut model = sparsecode_model::default();
    let start = longer.as_ptr().cast();
    done!(sparsecode_model_load_slot(
        &raw mut model,
        start,
        longer.len()
    ));
    done!(sparsecode_model_verify_checksum(&raw const model));
    let mut integer = sparsecode_integer_model::default();
    let status = call!(sparsecode_integer_model_load(
        &raw mut integer,
        good.as_ptr().cast(),
        good.len()
    ));
    assert_eq!(status, Status::OtherArithmetic);

    // A file that does not start where it has to.
    let mut shifted = vec![0; good.len() + 8];
    let offset = 1 + shifted.as_ptr().align_offset(4);
    shifted[offset..offset + good.len()].copy_from_slice(good);
    let status = call!(sparsecode_model_load(
        &raw mut model,
        shifted[offset..].as_ptr().cast(),
        good.len()
    ));
    assert_eq!(status, Status::Misaligned);
}

#[test]
fn changed_weights_are_noticed() {
    for integers in [false, true] {
        let mut bytes = if integers {
            integer_file(LINEAR).to_vec()
        } else {
            float_file(LINEAR).to_vec()
        };
        // The last weight, within its range.
        let last = bytes.len() - 1;
        bytes[last] = if bytes[last] == 1 { 2 } else { 1 };
        let bytes = leaked(AlignedBytes::from_slice(&bytes));
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        let status = if integers {
            let mut model = sparsecode_integer_model::default();
            done!(sparsecode_integer_model_load(&raw mut model, start, length));
            call!(sparsecode_integer_model_verify_checksum(&raw const model))
        } else {
            let mut model = sparsecode_model::default();
            done!(sparsecode_model_load(&raw mut model, start, length));
            call!(sparsecode_model_verify_checksum(&raw const model))
        };
        assert_eq!(status, Status::Checksum);
    }
}

/// One wrong argument at a time, of every function that takes it; nothing is written.
#[test]
fn wrong_arguments_are_answered() {
    let mut c = Program::new(float_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let (model, mut code) = (c.model, c.code);
    let mut patch = samples(24, 1);
    let before = patch.clone();
    let (start, model) = (patch.as_mut_ptr(), &raw const model);
    let settings = settings_of(&c.model);
    let settings = &raw const settings;
    code.active = 0;
    let kept = code;

    type Arguments = (
        *const sparsecode_model,
        *mut f32,
        usize,
        sparsecode_code,
        *mut c_void,
        usize,
    );
    let good: Arguments = (model, start, 21, code, workspace, bytes);
    let run = |(model, patch, length, code, workspace, bytes): Arguments, expected: Status| {
        let mut code = code;
        let header = &raw mut code;
        let nothing = null_mut();
        let statuses = [
            call!(sparsecode_encode(
                model, patch, length, header, workspace, bytes
            )),
            call!(sparsecode_refine(
                model, patch, length, header, settings, workspace, bytes, nothing
            )),
            call!(sparsecode_decode(
                model, header, patch, length, workspace, bytes
            )),
            call!(sparsecode_denoise(
                model,
                patch,
                length,
                null(),
                header,
                workspace,
                bytes,
                nothing
            )),
        ];
        assert_eq!(statuses, [expected; 4]);
        assert_eq!(code.active, kept.active);
    };
    let empty = sparsecode_model::default();
    let odd = |pointer: *mut c_void| pointer.wrapping_byte_add(1);
    let file = float_file(LINEAR);
    let with = |change: &dyn Fn(&mut Arguments)| {
        let mut arguments = good;
        change(&mut arguments);
        arguments
    };

    run(with(&|a| a.0 = null()), Status::NullPointer);
    run(with(&|a| a.0 = &raw const empty), Status::NotLoaded);
    run(
        with(&|a| a.0 = model.wrapping_byte_add(4)),
        Status::Misaligned,
    );
    run(with(&|a| a.1 = null_mut()), Status::NullPointer);
    run(
        with(&|a| a.1 = start.wrapping_byte_add(2)),
        Status::Misaligned,
    );
    for length in [0, 20, 22, usize::MAX, usize::MAX / 4, 1 << 62] {
        run(with(&|a| a.2 = length), Status::Length);
    }
    run(with(&|a| a.3.indices = null_mut()), Status::NullPointer);
    run(with(&|a| a.3.values = null_mut()), Status::NullPointer);
    run(
        with(&|a| a.3.indices = a.3.indices.wrapping_byte_add(1)),
        Status::Misaligned,
    );
    run(
        with(&|a| a.3.values = a.3.values.wrapping_byte_add(2)),
        Status::Misaligned,
    );
    run(with(&|a| a.3.capacity = 12), Status::TooSmall);
    run(with(&|a| a.4 = null_mut()), Status::NullPointer);
    run(with(&|a| a.4 = odd(a.4)), Status::Misaligned);
    run(with(&|a| a.5 = bytes - 1), Status::TooSmall);
    run(with(&|a| a.5 = 0), Status::TooSmall);
    // Overlaps: of the patch with the workspace, of the arrays with one another and with either, and of anything with the model.
    run(
        with(&|a| a.4 = start.wrapping_add(20).cast()),
        Status::Overlap,
    );
    run(with(&|a| a.1 = workspace.cast()), Status::Overlap);
    run(
        with(&|a| a.3.indices = workspace.wrapping_byte_add(bytes - 2).cast()),
        Status::Overlap,
    );
    run(with(&|a| a.3.values = start), Status::Overlap);
    run(with(&|a| a.4 = model.cast_mut().cast()), Status::Overlap);
    let _ = file;

    // Encoding, refining and denoising write the arrays; decoding only reads them.
    let mut shared = code;
    shared.indices = shared.values.cast();
    let status = call!(sparsecode_encode(
        model,
        start,
        21,
        &raw mut shared,
        workspace,
        bytes
    ));
    assert_eq!(status, Status::Overlap);
    let header = &raw mut code;
    let null_header = null_mut::<sparsecode_code>();
    assert_eq!(
        call!(sparsecode_encode(
            model,
            start,
            21,
            null_header,
            workspace,
            bytes
        )),
        Status::NullPointer
    );
    assert_eq!(
        call!(sparsecode_decode(
            model,
            null_header,
            start,
            21,
            workspace,
            bytes
        )),
        Status::NullPointer
    );
    let unaligned = null_mut::<sparsecode_refinement>().wrapping_byte_add(3);
    let nothing = null_mut();
    assert_eq!(
        call!(sparsecode_refine(
            model,
            start,
            21,
            header,
            null(),
            workspace,
            bytes,
            nothing
        )),
        Status::NullPointer
    );
    assert_eq!(
        call!(sparsecode_refine(
            model, start, 21, header, settings, workspace, bytes, unaligned
        )),
        Status::Misaligned
    );
    assert_eq!(
        call!(sparsecode_denoise(
            model, start, 21, settings, header, workspace, bytes, unaligned
        )),
        Status::Misaligned
    );
    assert_eq!(patch, before);
    c.check();
    assert!(c.values.cells.iter().all(|value| *value == -7.0));
}

/// A workspace or an array in the model's file would change the model.
#[test]
fn the_file_is_not_written() {
    let bytes = float_file(LINEAR);
    let mut c = Program::new(bytes);
    let (workspace, size) = (c.workspace(), c.workspace_bytes);
    let mut patch = samples(21, 1);
    let (model, start) = (&raw const c.model, patch.as_mut_ptr());
    let inside = bytes[bytes.len() - 1 - size..].as_ptr();
    let inside = inside.wrapping_sub(inside.addr() % 4).cast_mut();
    let code = &raw mut c.code;
    let within = inside.cast();
    assert_eq!(
        call!(sparsecode_encode(model, start, 21, code, within, size)),
        Status::Overlap
    );
    let mut in_file = c.code;
    in_file.values = inside.cast();
    assert_eq!(
        call!(sparsecode_encode(
            model,
            start,
            21,
            &raw mut in_file,
            workspace,
            size
        )),
        Status::Overlap
    );
    let mut normalisation = sparsecode_normalisation {
        mean: 0.0,
        deviation: 1.0,
    };
    assert_eq!(
        call!(sparsecode_preprocess(
            model,
            inside.cast(),
            21,
            &raw mut normalisation
        )),
        Status::Overlap
    );
    // Its own handle over the file.
    let handle = bytes.as_ptr().wrapping_add(bytes.as_ptr().align_offset(8));
    assert_eq!(
        call!(sparsecode_model_load(
            handle.cast_mut().cast(),
            bytes.as_ptr().cast(),
            bytes.len()
        )),
        Status::Overlap
    );
    done!(sparsecode_model_verify_checksum(model));
}

#[test]
fn codes_from_elsewhere_are_checked() {
    let mut c = Program::new(float_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let mut patch = samples(21, 1);
    let settings = settings_of(&c.model);
    let mut status_of = |indices: &[u16], values: &[f32], active: u16| {
        c.indices.cells[4..4 + indices.len()].copy_from_slice(indices);
        c.values.cells[4..4 + values.len()].copy_from_slice(values);
        c.code.active = active;
        let (model, code) = (&raw const c.model, &raw mut c.code);
        let start = patch.as_mut_ptr();
        let decoded = call!(sparsecode_decode(model, code, start, 21, workspace, bytes));
        let refined = call!(sparsecode_refine(
            model,
            start,
            21,
            code,
            &raw const settings,
            workspace,
            bytes,
            null_mut()
        ));
        assert_eq!(decoded, refined);
        decoded
    };
    assert_eq!(status_of(&[], &[], 0), Status::Ok);
    assert_eq!(status_of(&[0, 5, 12], &[1.0, 0.5, 2.0], 3), Status::Ok);
    for (indices, values, active) in [
        (&[0, 5, 13][..], &[1.0, 0.5, 2.0][..], 3),
        (&[0, 5, 5], &[1.0, 0.5, 2.0], 3),
        (&[5, 0, 6], &[1.0, 0.5, 2.0], 3),
        (&[0, 5, 65535], &[1.0, 0.5, 2.0], 3),
        (&[0, 5, 6], &[1.0, 0.0, 2.0], 3),
        (&[0, 5, 6], &[1.0, -0.5, 2.0], 3),
        (&[0, 5, 6], &[1.0, f32::NAN, 2.0], 3),
        (&[0, 5, 6], &[1.0, f32::INFINITY, 2.0], 3),
        (&[0, 5, 6], &[1.0, 0.5, 2.0], 14),
        (&[0, 5, 6], &[1.0, 0.5, 2.0], 65535),
    ] {
        assert_eq!(
            status_of(indices, values, active),
            Status::InvalidCode,
            "{indices:?} {values:?} {active}"
        );
    }
}

const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 1.0 / 1000.0,
    input_min: -1500,
    input_max: 1500,
    code_max: 30.0,
};

fn integer_bytes(model: &OwnedModel) -> &'static [u8] {
    leaked(AlignedBytes::from_slice(
        &write_integer(model, &RANGES).unwrap().bytes,
    ))
}

/// With 4-bit weights and 8-bit activations.
fn narrow_bytes(model: &OwnedModel) -> &'static [u8] {
    let ranges = ActivationRanges {
        input_scale: 1.0 / 80.0,
        input_min: -127,
        input_max: 127,
        ..RANGES
    };
    let written = write_integer_as(model, &ranges, WeightType::I4, Activations::I8);
    leaked(AlignedBytes::from_slice(&written.unwrap().bytes))
}

fn integer_file(shape: Shape) -> &'static [u8] {
    integer_bytes(&random_model(shape, 9))
}

/// The same for a model in integers.
struct IntegerProgram {
    model: sparsecode_integer_model,
    entries: Guarded<u32>,
    workspace: Guarded<u16>,
    workspace_bytes: usize,
    code: sparsecode_integer_code,
}

impl IntegerProgram {
    fn new(bytes: &'static [u8]) -> Self {
        let mut model = sparsecode_integer_model::default();
        done!(sparsecode_integer_model_load(
            &raw mut model,
            bytes.as_ptr().cast(),
            bytes.len()
        ));
        let mut info = sparsecode_integer_model_info::default();
        done!(sparsecode_integer_model_get_info(
            &raw const model,
            &raw mut info
        ));
        let mut program = Self {
            model,
            entries: Guarded::new(info.code_dim as usize, 0xabcd_ef01),
            workspace: Guarded::new(info.workspace_bytes / 2, 0xbeef),
            workspace_bytes: info.workspace_bytes,
            code: sparsecode_integer_code {
                entries: null_mut(),
                capacity: info.code_dim as u16,
                active: 999,
            },
        };
        program.code.entries = program.entries.start();
        program
    }

    fn workspace(&mut self) -> *mut c_void {
        self.workspace.start().cast()
    }

    fn components(&self) -> Vec<(u16, i16)> {
        (0..self.code.active)
            .map(|position| {
                let (mut index, mut level) = (0, 0);
                done!(sparsecode_integer_code_get(
                    &raw const self.code,
                    position,
                    &raw mut index,
                    &raw mut level
                ));
                (index, level)
            })
            .collect()
    }

    fn check(&self) {
        self.entries.check();
        self.workspace.check();
    }
}

fn integer_settings(model: &sparsecode_integer_model) -> sparsecode_integer_refine_settings {
    let mut settings = sparsecode_integer_refine_settings {
        method: 77,
        threshold: -1,
        max_iterations: 0,
        tolerance_bits: 0,
        from_zero: 9,
        deadline: None,
        context: null_mut(),
    };
    done!(sparsecode_integer_settings_for_model(
        model,
        &raw mut settings
    ));
    settings
}

#[test]
fn every_step_in_integers_gives_the_levels_of_rust() {
    let contrasts = [
        Contrast::None,
        Contrast::RemoveMean,
        Contrast::Standardize { floor: 0.1 },
    ];
    let shapes = [
        LINEAR,
        Shape {
            code: 16,
            lista: None,
            ..LINEAR
        },
    ];
    for (shape, contrast) in shapes
        .into_iter()
        .flat_map(|shape| contrasts.map(|contrast| (shape, contrast)))
    {
        let mut model = random_model(shape, 9);
        model.spec.preprocessing.contrast = contrast;
        // Where levels of 8 bits can be, with 4-bit weights, too.
        let bytes = if contrast == Contrast::None {
            narrow_bytes(&model)
        } else {
            integer_bytes(&model)
        };
        let file = IntegerFile::read(bytes).unwrap();
        let refine = IntegerRefine {
            max_iterations: 9,
            tolerance_bits: 31,
            ..IntegerRefine::for_model(&file)
        };
        let fista = IntegerRefine {
            method: Method::Fista,
            ..refine
        };
        let mut view = IntegerView::new(file);
        let mut c = IntegerProgram::new(bytes);
        let (workspace, size) = (c.workspace(), c.workspace_bytes);
        let model = c.model;
        let mut settings = integer_settings(&model);
        settings.max_iterations = 9;
        settings.tolerance_bits = 31;
        let mut other = settings;
        other.method = sparsecode_method::Fista as i32;
        for seed in 0..4 {
            let raw: Vec<i16> = samples(21, seed)
                .iter()
                .map(|sample| (sample * 2000.0) as i16 - 200)
                .collect();
            let (mut patch, mut found) = (raw.clone(), raw.clone());
            let normalisation = view.preprocess(&mut patch).unwrap();
            let mut given = sparsecode_integer_normalisation {
                mean: 0,
                deviation: 0,
            };
            done!(sparsecode_integer_preprocess(
                &raw const model,
                found.as_mut_ptr(),
                21,
                &raw mut given
            ));
            assert_eq!(found, patch);
            assert_eq!(
                (given.mean, given.deviation),
                (normalisation.mean, normalisation.deviation)
            );

            view.encode(&patch).unwrap();
            done!(sparsecode_integer_encode(
                &raw const model,
                found.as_ptr(),
                21,
                &raw mut c.code,
                workspace,
                size
            ));
            assert!(view.code().eq(c.components()));
            assert!(c.code.active > 0);

            let done = view.refine(&patch, &refine, || false).unwrap();
            let mut refinement = sparsecode_integer_refinement {
                iterations: 77,
                stopped: sparsecode_stop::Deadline,
            };
            done!(sparsecode_integer_refine(
                &raw const model,
                found.as_ptr(),
                21,
                &raw mut c.code,
                &raw const settings,
                workspace,
                size,
                &raw mut refinement
            ));
            assert!(view.code().eq(c.components()));
            assert_eq!(refinement, done.into());

            let done = view.refine(&patch, &fista, || false).unwrap();
            done!(sparsecode_integer_refine(
                &raw const model,
                found.as_ptr(),
                21,
                &raw mut c.code,
                &raw const other,
                workspace,
                size,
                &raw mut refinement
            ));
            assert!(view.code().eq(c.components()));
            assert_eq!(refinement, done.into());

            view.decode(&mut patch).unwrap();
            view.restore(&mut patch, normalisation).unwrap();
            done!(sparsecode_integer_decode(
                &raw const model,
                &raw const c.code,
                found.as_mut_ptr(),
                21,
                workspace,
                size
            ));
            done!(sparsecode_integer_restore(
                &raw const model,
                found.as_mut_ptr(),
                21,
                &raw const given
            ));
            assert_eq!(found, patch);

            for refine in [None, Some(&refine)] {
                patch.copy_from_slice(&raw);
                found.copy_from_slice(&raw);
                let done = view.denoise(&mut patch, refine, || false).unwrap();
                done!(sparsecode_integer_denoise(
                    &raw const model,
                    found.as_mut_ptr(),
                    21,
                    refine.map_or(null(), |_| &raw const settings),
                    &raw mut c.code,
                    workspace,
                    size,
                    &raw mut refinement
                ));
                assert_eq!(found, patch);
                assert!(view.code().eq(c.components()));
                if let Some(done) = done {
                    assert_eq!(refinement, done.into());
                }
            }
            c.check();
        }
    }
}

#[test]
fn information_and_scales_are_the_integer_files() {
    let bytes = integer_file(LINEAR);
    let file = IntegerFile::read(bytes).unwrap();
    let c = IntegerProgram::new(bytes);
    let mut info = sparsecode_integer_model_info::default();
    done!(sparsecode_integer_model_get_info(
        &raw const c.model,
        &raw mut info
    ));
    assert_eq!(
        info,
        sparsecode_integer_model_info {
            input_dim: 21,
            height: 1,
            width: 21,
            code_dim: 13,
            has_encoder: 1,
            has_signed_codes: 0,
            checksum: file.checksum(),
            input_min: -1500,
            input_max: 1500,
            file_bytes: bytes.len(),
            workspace_bytes: 18 * 13,
        }
    );
    let (mut input, mut code) = (0.0, 0.0);
    done!(sparsecode_integer_model_get_scales(
        &raw const c.model,
        &raw mut input,
        &raw mut code
    ));
    assert_eq!((input, code), file.scales().unwrap());
}

#[test]
fn integer_codes_are_made_and_checked() {
    let mut c = IntegerProgram::new(integer_file(LINEAR));
    c.code.active = 0;
    let header = &raw mut c.code;
    for (index, level, expected) in [
        (3, 7, Status::Ok),
        (3, 7, Status::InvalidCode),
        (2, 7, Status::InvalidCode),
        (4, 0, Status::InvalidCode),
        (4, i16::MIN, Status::InvalidCode),
        (13, 7, Status::InvalidCode),
        (12, 32767, Status::Ok),
    ] {
        let status = call!(sparsecode_integer_code_push(header, index, level));
        assert_eq!(status, expected, "{index} {level}");
    }
    assert_eq!(c.components(), [(3, 7), (12, 32767)]);
    let (mut index, mut level) = (0, 0);
    let beyond = call!(sparsecode_integer_code_get(
        &raw const c.code,
        2,
        &raw mut index,
        &raw mut level
    ));
    assert_eq!(beyond, Status::InvalidCode);
    let mut full = c.code;
    full.active = full.capacity;
    let status = call!(sparsecode_integer_code_push(&raw mut full, 12, 1));
    assert_eq!(status, Status::InvalidCode);

    let (workspace, size) = (c.workspace(), c.workspace_bytes);
    let settings = integer_settings(&c.model);
    let mut patch = [100_i16; 21];
    let mut status_of = |entries: &[u32], active: u16| {
        c.entries.cells[4..4 + entries.len()].copy_from_slice(entries);
        c.code.active = active;
        let (model, code) = (&raw const c.model, &raw mut c.code);
        let start = patch.as_mut_ptr();
        let decoded = call!(sparsecode_integer_decode(
            model, code, start, 21, workspace, size
        ));
        let refined = call!(sparsecode_integer_refine(
            model,
            start,
            21,
            code,
            &raw const settings,
            workspace,
            size,
            null_mut()
        ));
        assert_eq!(decoded, refined);
        decoded
    };
    let entry = |index: u32, level: u32| index << 19 | level;
    assert_eq!(status_of(&[entry(0, 5), entry(12, 9)], 2), Status::Ok);
    for (entries, active) in [
        (&[entry(0, 5), entry(13, 9)][..], 2),
        (&[entry(4, 5), entry(4, 9)], 2),
        (&[entry(5, 5), entry(4, 9)], 2),
        (&[entry(0, 0)], 1),
        (&[entry(0, 0x8000)], 1),
        // Between two rows.
        (&[entry(0, 5) | 1 << 16], 1),
        (&[u32::MAX], 1),
        (&[entry(0, 5)], 14),
    ] {
        assert_eq!(
            status_of(entries, active),
            Status::InvalidCode,
            "{entries:x?}"
        );
    }
}

#[test]
fn wrong_arguments_in_integers_are_answered() {
    let mut c = IntegerProgram::new(integer_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let model = c.model;
    let model = &raw const model;
    c.code.active = 0;
    let code = c.code;
    let mut patch = [77_i16; 24];
    let start = patch.as_mut_ptr();
    let settings = integer_settings(&c.model);
    let settings = &raw const settings;

    type Arguments = (
        *const sparsecode_integer_model,
        *mut i16,
        usize,
        sparsecode_integer_code,
        *mut c_void,
        usize,
    );
    let good: Arguments = (model, start, 21, code, workspace, bytes);
    // A method that there is not, with the patch as it was.
    let mut unknown = integer_settings(&c.model);
    for method in [-1, 2, i32::MAX] {
        unknown.method = method;
        let (asked, nothing) = (&raw const unknown, null_mut());
        let header = &raw mut c.code;
        let refined = call!(sparsecode_integer_refine(
            model, start, 21, header, asked, workspace, bytes, nothing
        ));
        let denoised = call!(sparsecode_integer_denoise(
            model, start, 21, asked, header, workspace, bytes, nothing
        ));
        assert_eq!([refined, denoised], [Status::InvalidSetting; 2], "{method}");
        assert_eq!(patch, [77; 24]);
    }

    let run = |change: &dyn Fn(&mut Arguments), expected: Status| {
        let mut arguments = good;
        change(&mut arguments);
        let (model, patch, length, mut code, workspace, bytes) = arguments;
        let header = &raw mut code;
        let nothing = null_mut();
        let statuses = [
            call!(sparsecode_integer_encode(
                model, patch, length, header, workspace, bytes
            )),
            call!(sparsecode_integer_refine(
                model, patch, length, header, settings, workspace, bytes, nothing
            )),
            call!(sparsecode_integer_decode(
                model, header, patch, length, workspace, bytes
            )),
            call!(sparsecode_integer_denoise(
                model,
                patch,
                length,
                null(),
                header,
                workspace,
                bytes,
                nothing
            )),
        ];
        assert_eq!(statuses, [expected; 4]);
        assert_eq!(code.active, 0);
    };
    let empty = sparsecode_integer_model::default();
    run(&|a| a.0 = null(), Status::NullPointer);
    run(&|a| a.0 = &raw const empty, Status::NotLoaded);
    run(&|a| a.0 = model.wrapping_byte_add(1), Status::Misaligned);
    run(&|a| a.1 = null_mut(), Status::NullPointer);
    run(&|a| a.1 = start.wrapping_byte_add(1), Status::Misaligned);
    run(&|a| a.2 = 20, Status::Length);
    run(&|a| a.2 = usize::MAX, Status::Length);
    run(&|a| a.3.entries = null_mut(), Status::NullPointer);
    run(
        &|a| a.3.entries = a.3.entries.wrapping_byte_add(2),
        Status::Misaligned,
    );
    run(&|a| a.3.capacity = 12, Status::TooSmall);
    run(&|a| a.4 = null_mut(), Status::NullPointer);
    run(&|a| a.4 = a.4.wrapping_byte_add(2), Status::Misaligned);
    run(&|a| a.5 = bytes - 1, Status::TooSmall);
    run(&|a| a.1 = workspace.cast(), Status::Overlap);
    run(&|a| a.3.entries = workspace.cast(), Status::Overlap);
    run(&|a| a.4 = model.cast_mut().cast(), Status::Overlap);
    assert_eq!(patch, [77; 24]);
    c.check();
    assert!(c.workspace.cells.iter().all(|cell| *cell == 0xbeef));
}

/// All that a program hands in, in one piece of memory: a model's file and 1 kB for each argument.
struct Arena {
    start: *mut u8,
    bytes: usize,
    file_bytes: usize,
}

impl Arena {
    const SLOT: usize = 1024;

    fn new(file: &[u8]) -> Self {
        let words = (8 * Self::SLOT + file.len()).div_ceil(8);
        let memory = Box::leak(vec![0_u64; words].into_boxed_slice());
        let arena = Self {
            start: memory.as_mut_ptr().cast(),
            bytes: 8 * words,
            file_bytes: file.len(),
        };
        // SAFETY: as long as the memory behind the eight slots.
        unsafe { arena.file().copy_from(file.as_ptr(), file.len()) };
        arena
    }

    fn slot<T>(&self, number: usize) -> *mut T {
        self.start.wrapping_add(number * Self::SLOT).cast()
    }

    fn file(&self) -> *mut u8 {
        self.slot(8)
    }

    fn last_words_of_the_file(&self) -> *mut c_void {
        let offset = (self.file_bytes - 32) / 8 * 8;
        self.file().wrapping_add(offset).cast()
    }

    fn contents(&self) -> Vec<u8> {
        // SAFETY: the memory, to which there is no other reference.
        unsafe { std::slice::from_raw_parts(self.start, self.bytes) }.to_vec()
    }

    /// Asks that a call finds the overlap and changes nothing.
    fn refuses(&self, call: &dyn Fn() -> Status, what: &str) {
        let before = self.contents();
        assert_eq!(call(), Status::Overlap, "{what}");
        assert!(self.contents() == before, "{what} was written");
    }

    /// The same with a value at `place`, which then becomes what it was.
    fn refuses_with<T>(&self, value: T, place: *mut c_void, call: &dyn Fn(*mut T), what: &str) {
        let before = self.contents();
        // SAFETY: aligned places within the memory.
        unsafe { place.cast::<T>().write(value) };
        call(place.cast());
        // SAFETY: as long as the memory.
        unsafe { self.start.copy_from(before.as_ptr(), self.bytes) };
        assert!(self.contents() == before, "{what}");
    }
}

/// Everything that is written, laid over everything else.
#[test]
fn what_is_written_overlaps_nothing_else() {
    let arena = Arena::new(float_file(LINEAR));
    let (model, patch) = (arena.slot::<sparsecode_model>(0), arena.slot::<f32>(1));
    let (indices, values) = (arena.slot::<u16>(2), arena.slot::<f32>(3));
    let workspace = arena.slot::<c_void>(4);
    let settings = arena.slot::<sparsecode_refine_settings>(5);
    let code = arena.slot::<sparsecode_code>(6);
    let normalisation = arena.slot::<sparsecode_normalisation>(7);
    let file = arena.last_words_of_the_file();
    let (length, bytes) = (21, Arena::SLOT);
    done!(sparsecode_model_load(
        model,
        arena.file().cast(),
        arena.file_bytes
    ));
    done!(sparsecode_settings_for_model(model, settings));
    let header = sparsecode_code {
        indices,
        values,
        capacity: 13,
        active: 0,
    };
    // SAFETY: aligned places within the arena.
    unsafe { code.write(header) };

    let handle_end = model.wrapping_add(1).wrapping_byte_sub(8);
    let everything: [(&str, *mut c_void); 9] = [
        ("handle", model.cast()),
        ("end of the handle", handle_end.cast()),
        ("file", file),
        ("patch", patch.cast()),
        ("indices", indices.cast()),
        ("values", values.cast()),
        ("workspace", workspace),
        ("settings", settings.cast()),
        ("code", code.cast()),
    ];
    for (what, place) in everything {
        let refinement = place.cast();
        let refine = || {
            call!(sparsecode_refine(
                model, patch, length, code, settings, workspace, bytes, refinement
            ))
        };
        arena.refuses(&refine, what);
        let denoise = || {
            call!(sparsecode_denoise(
                model, patch, length, settings, code, workspace, bytes, refinement
            ))
        };
        arena.refuses(&denoise, what);
    }
    for (what, place) in &everything[..4] {
        let preprocess = || call!(sparsecode_preprocess(model, patch, length, place.cast()));
        arena.refuses(&preprocess, what);
    }
    for (what, place) in &everything[..3] {
        let place = *place;
        arena.refuses(
            &|| call!(sparsecode_settings_for_noise(model, 0.1, place.cast())),
            what,
        );
        arena.refuses(
            &|| call!(sparsecode_model_get_info(model, place.cast())),
            what,
        );
    }
    // A patch over what is only read.
    let restore = |normalisation: *mut c_void| {
        call!(sparsecode_restore(
            model,
            patch,
            length,
            normalisation.cast::<sparsecode_normalisation>()
        ))
    };
    assert_eq!(restore(normalisation.cast()), Status::Ok);
    arena.refuses(&|| restore(patch.cast()), "normalisation");
    let decode = |code: *mut sparsecode_code| {
        call!(sparsecode_decode(
            model, code, patch, length, workspace, bytes
        ))
    };
    assert_eq!(decode(code), Status::Ok);

    // The code's header, which is written, over the rest: of the settings the context, which nothing looks at.
    let context =
        settings.wrapping_byte_add(std::mem::offset_of!(sparsecode_refine_settings, context));
    let places: [(&str, *mut c_void); 6] = [
        ("patch", patch.cast()),
        ("indices", indices.cast()),
        ("values", values.cast()),
        ("workspace", workspace),
        ("file", file),
        ("settings", context.cast()),
    ];
    for (what, place) in places {
        let calls = |code| {
            let encode = || {
                call!(sparsecode_encode(
                    model, patch, length, code, workspace, bytes
                ))
            };
            let refine = || {
                call!(sparsecode_refine(
                    model,
                    patch,
                    length,
                    code,
                    settings,
                    workspace,
                    bytes,
                    null_mut()
                ))
            };
            let denoise = || {
                call!(sparsecode_denoise(
                    model,
                    patch,
                    length,
                    settings,
                    code,
                    workspace,
                    bytes,
                    null_mut()
                ))
            };
            arena.refuses(&refine, what);
            arena.refuses(&denoise, what);
            if what != "settings" {
                arena.refuses(&encode, what);
            }
            if what == "patch" || what == "workspace" {
                arena.refuses(&|| decode(code), what);
            }
        };
        arena.refuses_with(header, place, &calls, what);
    }
}

#[test]
fn what_is_written_in_integers_overlaps_nothing_else() {
    let arena = Arena::new(integer_file(LINEAR));
    let model = arena.slot::<sparsecode_integer_model>(0);
    let (patch, entries) = (arena.slot::<i16>(1), arena.slot::<u32>(2));
    let (result, workspace) = (arena.slot::<u16>(3), arena.slot::<c_void>(4));
    let settings = arena.slot::<sparsecode_integer_refine_settings>(5);
    let code = arena.slot::<sparsecode_integer_code>(6);
    let normalisation = arena.slot::<sparsecode_integer_normalisation>(7);
    let file = arena.last_words_of_the_file();
    let (length, bytes) = (21, Arena::SLOT);
    done!(sparsecode_integer_model_load(
        model,
        arena.file().cast(),
        arena.file_bytes
    ));
    done!(sparsecode_integer_settings_for_model(model, settings));
    let mut header = sparsecode_integer_code {
        entries,
        capacity: 13,
        active: 0,
    };
    // SAFETY: aligned places within the arena.
    unsafe { code.write(header) };

    let handle_end = model.wrapping_add(1).wrapping_byte_sub(8);
    let everything: [(&str, *mut c_void); 8] = [
        ("handle", model.cast()),
        ("end of the handle", handle_end.cast()),
        ("file", file),
        ("patch", patch.cast()),
        ("entries", entries.cast()),
        ("workspace", workspace),
        ("settings", settings.cast()),
        ("code", code.cast()),
    ];
    for (what, place) in everything {
        let refinement = place.cast();
        let refine = || {
            call!(sparsecode_integer_refine(
                model, patch, length, code, settings, workspace, bytes, refinement
            ))
        };
        arena.refuses(&refine, what);
        let denoise = || {
            call!(sparsecode_integer_denoise(
                model, patch, length, settings, code, workspace, bytes, refinement
            ))
        };
        arena.refuses(&denoise, what);
    }
    for (what, place) in &everything[..4] {
        let preprocess = || {
            call!(sparsecode_integer_preprocess(
                model,
                patch,
                length,
                place.cast()
            ))
        };
        arena.refuses(&preprocess, what);
    }
    let scale = result.cast::<f32>();
    let scales = |input, code| call!(sparsecode_integer_model_get_scales(model, input, code));
    for (what, place) in &everything[..3] {
        let place = *place;
        arena.refuses(
            &|| call!(sparsecode_integer_settings_for_model(model, place.cast())),
            what,
        );
        arena.refuses(
            &|| call!(sparsecode_integer_model_get_info(model, place.cast())),
            what,
        );
        arena.refuses(&|| scales(place.cast(), scale), what);
        arena.refuses(&|| scales(scale, place.cast()), what);
    }
    arena.refuses(&|| scales(scale, scale), "scales");
    // A patch over what is only read.
    let restore = |normalisation: *mut c_void| {
        call!(sparsecode_integer_restore(
            model,
            patch,
            length,
            normalisation.cast::<sparsecode_integer_normalisation>()
        ))
    };
    assert_eq!(restore(normalisation.cast()), Status::Ok);
    arena.refuses(&|| restore(patch.cast()), "normalisation");
    let decode = |code: *mut sparsecode_integer_code| {
        call!(sparsecode_integer_decode(
            model, code, patch, length, workspace, bytes
        ))
    };
    assert_eq!(decode(code), Status::Ok);

    // A component over the code.
    done!(sparsecode_integer_code_push(code, 3, 7));
    let get = |index: *mut u16, level: *mut i16| {
        call!(sparsecode_integer_code_get(code, 0, index, level))
    };
    arena.refuses(&|| get(result, result.cast()), "component");
    for (what, place) in [("code", code.cast::<u16>()), ("entries", entries.cast())] {
        arena.refuses(&|| get(place, result.cast()), what);
        arena.refuses(&|| get(result, place.cast()), what);
    }

    // The code's header, which is written, over the rest: of the settings the context, which nothing looks at.
    header.active = 0;
    let context = settings.wrapping_byte_add(std::mem::offset_of!(
        sparsecode_integer_refine_settings,
        context
    ));
    let places: [(&str, *mut c_void); 5] = [
        ("patch", patch.cast()),
        ("entries", entries.cast()),
        ("workspace", workspace),
        ("file", file),
        ("settings", context.cast()),
    ];
    for (what, place) in places {
        let calls = |code| {
            let encode = || {
                call!(sparsecode_integer_encode(
                    model, patch, length, code, workspace, bytes
                ))
            };
            let refine = || {
                call!(sparsecode_integer_refine(
                    model,
                    patch,
                    length,
                    code,
                    settings,
                    workspace,
                    bytes,
                    null_mut()
                ))
            };
            let denoise = || {
                call!(sparsecode_integer_denoise(
                    model,
                    patch,
                    length,
                    settings,
                    code,
                    workspace,
                    bytes,
                    null_mut()
                ))
            };
            arena.refuses(&refine, what);
            arena.refuses(&denoise, what);
            if what != "settings" {
                arena.refuses(&encode, what);
            }
            if what == "patch" || what == "workspace" {
                arena.refuses(&|| decode(code), what);
            }
            if what == "entries" {
                arena.refuses(&|| call!(sparsecode_integer_code_push(code, 3, 7)), what);
            }
        };
        arena.refuses_with(header, place, &calls, what);
    }
}

#[test]
fn settings_out_of_range_are_refused() {
    let mut c = Program::new(float_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let mut patch = samples(21, 1);
    let before = patch.clone();
    let model = c.model;
    c.code.active = 0;
    let mut run = |change: &dyn Fn(&mut sparsecode_refine_settings)| {
        let mut settings = settings_of(&model);
        settings.max_iterations = 1;
        change(&mut settings);
        let (start, code) = (patch.as_mut_ptr(), &raw mut c.code);
        let (model, settings) = (&raw const model, &raw const settings);
        let nothing = null_mut();
        let statuses = [
            call!(sparsecode_refine(
                model, start, 21, code, settings, workspace, bytes, nothing
            )),
            call!(sparsecode_denoise(
                model, start, 21, settings, code, workspace, bytes, nothing
            )),
        ];
        assert_eq!(statuses[0], statuses[1]);
        let same = patch == before && c.code.active == 0;
        patch.copy_from_slice(&before);
        c.code.active = 0;
        (statuses[0], same)
    };
    const REFUSED: (Status, bool) = (Status::InvalidSetting, true);
    for wrong in [
        -1.0,
        -f32::MIN_POSITIVE,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
    ] {
        assert_eq!(run(&|by| by.lambda = wrong), REFUSED, "{wrong}");
        assert_eq!(run(&|by| by.step_size = wrong), REFUSED, "{wrong}");
        assert_eq!(run(&|by| by.tolerance = wrong), REFUSED, "{wrong}");
        let constant = |by: &mut sparsecode_refine_settings| {
            (by.start, by.start_value) = (sparsecode_start::Constant as i32, wrong);
        };
        assert_eq!(run(&constant), REFUSED, "{wrong}");
        // Not looked at.
        assert_eq!(run(&|by| by.start_value = wrong).0, Status::Ok);

        let mut settings = settings_of(&model);
        settings.lambda = 77.0;
        let status = call!(sparsecode_settings_for_noise(
            &raw const model,
            wrong,
            &raw mut settings
        ));
        assert_eq!((status, settings.lambda), (Status::InvalidSetting, 77.0));
    }
    assert_eq!(run(&|by| by.step_size = 0.0), REFUSED);
    assert_eq!(run(&|by| by.lambda = 0.0).0, Status::Ok);
    assert_eq!(run(&|by| by.tolerance = 0.0).0, Status::Ok);
    // Above the model's own: the caller's choice.
    assert_eq!(run(&|by| by.step_size *= 3.0).0, Status::Ok);
}

#[test]
fn settings_in_integers_out_of_range_are_refused() {
    let mut c = IntegerProgram::new(integer_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let model = c.model;
    let raw: Vec<i16> = (0..21).map(|sample| 400 - 35 * sample).collect();
    let mut run = |change: &dyn Fn(&mut sparsecode_integer_refine_settings)| {
        let mut settings = integer_settings(&model);
        change(&mut settings);
        c.code.active = 0;
        let mut patch = raw.clone();
        let (start, code) = (patch.as_mut_ptr(), &raw mut c.code);
        let (model, settings) = (&raw const model, &raw const settings);
        let nothing = null_mut();
        let statuses = [
            call!(sparsecode_integer_refine(
                model, start, 21, code, settings, workspace, bytes, nothing
            )),
            call!(sparsecode_integer_denoise(
                model, start, 21, settings, code, workspace, bytes, nothing
            )),
        ];
        assert_eq!(statuses[0], statuses[1]);
        (statuses[0], patch, c.code.active)
    };
    for wrong in [-1, i32::MIN] {
        let refused = (Status::InvalidSetting, raw.clone(), 0);
        assert_eq!(run(&|by| by.threshold = wrong), refused, "{wrong}");
    }
    assert_eq!(run(&|by| by.threshold = 0).0, Status::Ok);
    // More bits than there are count as all of them.
    let all = run(&|by| by.tolerance_bits = 31);
    assert_eq!(all.0, Status::Ok);
    assert_eq!(run(&|by| by.tolerance_bits = 255), all);
}

#[test]
fn a_copy_of_a_handle_is_as_good() {
    let mut c = Program::new(float_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let copy = Box::new(c.model);
    c.model = sparsecode_model::default();
    let patch = samples(21, 2);
    done!(sparsecode_encode(
        &raw const *copy,
        patch.as_ptr(),
        21,
        &raw mut c.code,
        workspace,
        bytes
    ));
    assert!(c.code.active > 0);
}

#[test]
fn every_status_has_a_text_of_its_own() {
    let text = |status: i32| {
        let text = sparsecode_status_message(status);
        // SAFETY: a text that ends, as the documentation says.
        unsafe { CStr::from_ptr(text) }.to_str().unwrap()
    };
    let texts: HashSet<&str> = (0..=14).map(text).collect();
    assert_eq!(texts.len(), 15);
    assert_eq!(text(Status::Ok as i32), "done");
    for unknown in [-1, 15, i32::MAX, i32::MIN] {
        assert!(text(unknown).starts_with("no status"), "{unknown}");
        assert!(!texts.contains(text(unknown)));
    }
}
