//! Models in integers.

use std::ffi::c_void;
use std::mem::offset_of;
use std::ptr::{null, null_mut};

use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, Contrast, IntegerFile, OwnedModel, WeightType,
    write_integer, write_integer_as,
};
use sparsecode_runtime::capi::{self, *};
use sparsecode_runtime::{IntegerRefine, Method};

use crate::api::{self, Api, Guarded, Program, leaked, samples};
use crate::common::exact::Integers;
use crate::common::{Shape, random_model};
use crate::float::LINEAR;

use sparsecode_status as Status;

/// The functions for models in integers.
#[derive(Clone, Copy)]
pub(crate) struct Integer;

impl Api for Integer {
    type Model = sparsecode_integer_model;
    type Info = sparsecode_integer_model_info;
    type Number = i16;
    type Code = sparsecode_integer_code;
    type Settings = sparsecode_integer_refine_settings;
    type Normalisation = sparsecode_integer_normalisation;
    type Refinement = sparsecode_integer_refinement;
    type Arrays = Guarded<u32>;
    type Word = u16;

    const LOAD: api::Load<Self> = sparsecode_integer_model_load;
    const GET_INFO: api::GetInfo<Self> = sparsecode_integer_model_get_info;
    const SETTINGS_FOR_MODEL: api::SettingsForModel<Self> = sparsecode_integer_settings_for_model;
    const PREPROCESS: api::Preprocess<Self> = sparsecode_integer_preprocess;
    const RESTORE: api::Restore<Self> = sparsecode_integer_restore;
    const ENCODE: api::Encode<Self> = sparsecode_integer_encode;
    const REFINE: api::Refine<Self> = sparsecode_integer_refine;
    const DECODE: api::Decode<Self> = sparsecode_integer_decode;
    const DENOISE: api::Denoise<Self> = sparsecode_integer_denoise;

    const ARRAYS: &'static [(&'static str, usize)] = &[("entries", 4)];
    const MARK: u16 = 0xbeef;
    const CONTEXT: usize = offset_of!(sparsecode_integer_refine_settings, context);

    fn file() -> &'static [u8] {
        integer_file(LINEAR)
    }

    fn samples(count: usize) -> Vec<i16> {
        (0..count as i16).map(|sample| 400 - 35 * sample).collect()
    }

    fn settings(model: &sparsecode_integer_model) -> sparsecode_integer_refine_settings {
        integer_settings(model)
    }

    fn sizes(info: &sparsecode_integer_model_info) -> (usize, usize) {
        (info.code_dim as usize, info.workspace_bytes)
    }

    fn arrays(code_dim: usize) -> Guarded<u32> {
        Guarded::new(code_dim, 0xabcd_ef01)
    }

    fn check(entries: &Guarded<u32>) -> bool {
        entries.check();
        entries.is_untouched()
    }

    fn code(places: &[*mut c_void], capacity: u16, active: u16) -> sparsecode_integer_code {
        sparsecode_integer_code {
            entries: places[0].cast(),
            capacity,
            active,
        }
    }

    fn places(entries: &mut Guarded<u32>) -> Vec<*mut c_void> {
        vec![entries.start().cast()]
    }

    fn parts(code: &sparsecode_integer_code) -> (Vec<*mut c_void>, u16, u16) {
        (vec![code.entries.cast()], code.capacity, code.active)
    }
}

impl Program<Integer> {
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

pub(crate) fn integer_file(shape: Shape) -> &'static [u8] {
    integer_bytes(&random_model(shape, 9))
}

pub(crate) fn integer_settings(
    model: &sparsecode_integer_model,
) -> sparsecode_integer_refine_settings {
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
        let mut view = Integers::new(file);
        let mut c = Program::<Integer>::new(bytes);
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
    let c = Program::<Integer>::new(bytes);
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
            hidden_units: 0,
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
    let mut c = Program::<Integer>::new(integer_file(LINEAR));
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
        c.arrays.cells[4..4 + entries.len()].copy_from_slice(entries);
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
        // -1, of a model whose codes are not negative.
        (&[entry(0, 0xffff)], 1),
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
