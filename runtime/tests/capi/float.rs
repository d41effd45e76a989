//! Models in floats.

use std::ffi::{c_int, c_void};
use std::mem::offset_of;
use std::ptr::{null, null_mut};

use sparsecode_formats::{Contrast, WeightType};
use sparsecode_runtime::capi::{self, *};
use sparsecode_runtime::{
    CodeBuffer, ModelView, Normalisation, Refine, SparseCodeBuf, Stop, WorkspaceBuf,
};

use crate::api::{self, Api, Guarded, Program, leaked, samples};
use crate::common::{Shape, file, random_model};

use sparsecode_status as Status;

pub(crate) const LINEAR: Shape = Shape {
    input: 21,
    code: 13,
    hidden: 0,
    lista: Some(3),
};

pub(crate) const SHAPES: [Shape; 4] = [
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

/// The functions for models in floats.
#[derive(Clone, Copy)]
pub(crate) struct Float;

pub(crate) struct Arrays {
    pub(crate) indices: Guarded<u16>,
    pub(crate) values: Guarded<f32>,
}

impl Api for Float {
    type Model = sparsecode_model;
    type Info = sparsecode_model_info;
    type Number = f32;
    type Code = sparsecode_code;
    type Settings = sparsecode_refine_settings;
    type Normalisation = sparsecode_normalisation;
    type Refinement = sparsecode_refinement;
    type Arrays = Arrays;
    type Word = u32;

    const LOAD: api::Load<Self> = sparsecode_model_load;
    const GET_INFO: api::GetInfo<Self> = sparsecode_model_get_info;
    const SETTINGS_FOR_MODEL: api::SettingsForModel<Self> = sparsecode_settings_for_model;
    const PREPROCESS: api::Preprocess<Self> = sparsecode_preprocess;
    const RESTORE: api::Restore<Self> = sparsecode_restore;
    const ENCODE: api::Encode<Self> = sparsecode_encode;
    const REFINE: api::Refine<Self> = sparsecode_refine;
    const DECODE: api::Decode<Self> = sparsecode_decode;
    const DENOISE: api::Denoise<Self> = sparsecode_denoise;

    const ARRAYS: &'static [(&'static str, usize)] = &[("indices", 2), ("values", 4)];
    const MARK: u32 = 0x7fc0_1234;
    const CONTEXT: usize = offset_of!(sparsecode_refine_settings, context);

    fn file() -> &'static [u8] {
        float_file(LINEAR)
    }

    fn samples(count: usize) -> Vec<f32> {
        samples(count, 1)
    }

    fn settings(model: &sparsecode_model) -> sparsecode_refine_settings {
        settings_of(model)
    }

    fn sizes(info: &sparsecode_model_info) -> (usize, usize) {
        (info.code_dim as usize, info.workspace_bytes)
    }

    fn arrays(code_dim: usize) -> Arrays {
        Arrays {
            indices: Guarded::new(code_dim, 0xabcd),
            values: Guarded::new(code_dim, -7.0),
        }
    }

    fn check(Arrays { indices, values }: &Arrays) -> bool {
        indices.check();
        values.check();
        indices.is_untouched() && values.is_untouched()
    }

    fn code(places: &[*mut c_void], capacity: u16, active: u16) -> sparsecode_code {
        sparsecode_code {
            indices: places[0].cast(),
            values: places[1].cast(),
            capacity,
            active,
        }
    }

    fn places(arrays: &mut Arrays) -> Vec<*mut c_void> {
        vec![arrays.indices.start().cast(), arrays.values.start().cast()]
    }

    fn parts(code: &sparsecode_code) -> (Vec<*mut c_void>, u16, u16) {
        let places = vec![code.indices.cast(), code.values.cast()];
        (places, code.capacity, code.active)
    }
}

impl Program<Float> {
    fn assert_code(&self, expected: &SparseCodeBuf) {
        let active = usize::from(self.code.active);
        assert_eq!(
            &self.arrays.indices.cells[4..4 + active],
            expected.indices()
        );
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        let found = &self.arrays.values.cells[4..4 + active];
        assert_eq!(bits(found), bits(expected.values()));
    }
}

pub(crate) fn float_file(shape: Shape) -> &'static [u8] {
    leaked(file(&random_model(shape, 5), WeightType::I8))
}

pub(crate) fn settings_of(model: &sparsecode_model) -> sparsecode_refine_settings {
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

#[test]
fn every_step_gives_the_bits_of_rust() {
    for shape in SHAPES {
        let bytes = float_file(shape);
        let view = ModelView::load(bytes).unwrap();
        let mut expected = SparseCodeBuf::new(shape.code as u16);
        let mut rust = WorkspaceBuf::for_model(view.spec());
        let mut c = Program::<Float>::new(bytes);
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
    let c = Program::<Float>::new(leaked(file(&model, WeightType::I8)));
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
fn information_is_the_files() {
    let bytes = float_file(SHAPES[2]);
    let view = ModelView::load(bytes).unwrap();
    let c = Program::<Float>::new(bytes);
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
    let mut c = Program::<Float>::new(float_file(LINEAR));
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
fn codes_from_elsewhere_are_checked() {
    let mut c = Program::<Float>::new(float_file(LINEAR));
    let (workspace, bytes) = (c.workspace(), c.workspace_bytes);
    let mut patch = samples(21, 1);
    let settings = settings_of(&c.model);
    let mut status_of = |indices: &[u16], values: &[f32], active: u16| {
        c.arrays.indices.cells[4..4 + indices.len()].copy_from_slice(indices);
        c.arrays.values.cells[4..4 + values.len()].copy_from_slice(values);
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

#[test]
fn a_copy_of_a_handle_is_as_good() {
    let mut c = Program::<Float>::new(float_file(LINEAR));
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
