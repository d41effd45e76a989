//! Variational models through the functions for C: the bits of the Rust API, in memory of the sizes
//! that the header states.

use std::ptr::{null, null_mut};

use sparsecode_formats::{
    ActivationRanges, AlignedBytes, OwnedModel, PosteriorBase, WeightType, example_posterior,
    example_variational, write, write_integer,
};
use sparsecode_runtime::capi::{self, *};
use sparsecode_runtime::{
    CodeBuffer as _, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerView, IntegerWorkspaceBuf,
    ModelView, Samples, SparseCodeBuf, WorkspaceBuf,
};

use crate::api::{Program, leaked, samples};
use crate::float::Float;
use crate::integer::Integer;

use sparsecode_status as Status;

/// Trunks, none for LISTA, and the hidden units of a workspace in floats and in integers.
const TRUNKS: [(&[u16], u32, u32); 3] = [(&[], 0, 0), (&[17], 17, 17), (&[9, 15, 8], 24, 15)];

fn model(trunk: &[u16]) -> OwnedModel {
    let mut model = example_variational(21, 13, trunk, true);
    let mean = (0..21).map(|i| 0.02 * i as f32 - 0.2).collect();
    model.variational.as_mut().unwrap().input_mean = Some(mean);
    model
}

#[test]
fn floats_have_the_bits_of_rust() {
    for (trunk, hidden_units, _) in TRUNKS {
        let bytes = write(&model(trunk), WeightType::I8).unwrap();
        let bytes = leaked(AlignedBytes::from_slice(&bytes));
        let view = ModelView::load(bytes).unwrap();
        let mut c = Program::<Float>::new(bytes);
        let mut info = sparsecode_model_info::default();
        done!(sparsecode_model_get_info(&raw const c.model, &raw mut info));
        assert_eq!((info.has_encoder, info.has_signed_codes), (1, 1));
        assert_eq!(info.hidden_dim, hidden_units);
        let needed = 4 * (21 + 2 * 13 + hidden_units as usize);
        assert_eq!(info.workspace_bytes, needed);
        let (workspace, room) = (c.workspace(), c.workspace_bytes);
        let mut expected = SparseCodeBuf::new(13);
        let mut rust = WorkspaceBuf::for_model(view.spec());
        let mut total = 0;
        for seed in 0..6 {
            let mut patch = samples(21, seed);
            let mut found = patch.clone();
            view.denoise(&mut patch, None, &mut expected, &mut rust, || false)
                .unwrap();
            done!(sparsecode_denoise(
                &raw const c.model,
                found.as_mut_ptr(),
                21,
                null(),
                &raw mut c.code,
                workspace,
                room,
                null_mut()
            ));
            assert_eq!(found, patch);
            let active = expected.active();
            total += active;
            assert_eq!(usize::from(c.code.active), active);
            let range = 4..4 + active;
            assert_eq!(&c.arrays.indices.cells[range.clone()], expected.indices());
            assert_eq!(&c.arrays.values.cells[range], expected.values());
        }
        assert!(total > 0);
        c.check();
        let status = call!(sparsecode_encode(
            &raw const c.model,
            [0.0_f32; 21].as_ptr(),
            21,
            &raw mut c.code,
            workspace,
            needed - 4
        ));
        assert_eq!(status, Status::TooSmall);
    }
}

#[test]
fn samples_have_the_bits_of_rust() {
    for (trunk, ..) in TRUNKS {
        let model = example_posterior(model(trunk), PosteriorBase::Laplacian, Some(1.0), true);
        let bytes = write(&model, WeightType::I8).unwrap();
        let bytes = leaked(AlignedBytes::from_slice(&bytes));
        let view = ModelView::load(bytes).unwrap();
        let mut c = Program::<Float>::new(bytes);
        let (workspace, room) = (c.workspace(), c.workspace_bytes);
        let mut expected = SparseCodeBuf::new(13);
        let mut rust = WorkspaceBuf::for_model(view.spec());
        for input in 0..6 {
            let patch = samples(21, input);
            let drawn = Samples {
                input,
                ..Samples::new(3, 5)
            };
            let best = view.encode_best_of(&patch, &mut expected, &drawn, &mut rust);
            let best = best.unwrap();
            let mut drawn = sparsecode_samples {
                seed: drawn.seed,
                input: drawn.input,
                first: drawn.first,
                count: drawn.count,
            };
            let mut found = sparsecode_best {
                sample: 0,
                error: 0.0,
            };
            let mut encode = |count, best| {
                drawn.count = count;
                call!(sparsecode_encode_best_of(
                    &raw const c.model,
                    patch.as_ptr(),
                    21,
                    &raw const drawn,
                    &raw mut c.code,
                    workspace,
                    room,
                    best
                ))
            };
            assert_eq!(encode(0, null_mut()), Status::InvalidSetting);
            assert_eq!(encode(5, null_mut()), Status::Ok);
            assert_eq!(encode(5, &raw mut found), Status::Ok);
            assert_eq!((found.sample, found.error), (best.sample, best.error));
            let active = expected.active();
            assert_eq!(usize::from(c.code.active), active);
            let range = 4..4 + active;
            assert_eq!(&c.arrays.indices.cells[range.clone()], expected.indices());
            assert_eq!(&c.arrays.values.cells[range], expected.values());
        }
        c.check();
    }
    // A file without a posterior.
    let bytes = leaked(AlignedBytes::from_slice(
        &write(&model(&[]), WeightType::I8).unwrap(),
    ));
    let mut c = Program::<Float>::new(bytes);
    let (workspace, room) = (c.workspace(), c.workspace_bytes);
    let drawn = sparsecode_samples {
        seed: 1,
        input: 0,
        first: 0,
        count: 4,
    };
    let status = call!(sparsecode_encode_best_of(
        &raw const c.model,
        [0.0_f32; 21].as_ptr(),
        21,
        &raw const drawn,
        &raw mut c.code,
        workspace,
        room,
        null_mut()
    ));
    assert_eq!(status, Status::NoPosterior);
}

#[test]
fn integers_have_the_levels_of_rust() {
    let ranges = ActivationRanges {
        input_scale: 0.001,
        input_min: -1500,
        input_max: 1500,
        code_max: 8.0,
    };
    for (trunk, _, hidden_units) in TRUNKS {
        let bytes = write_integer(&model(trunk), &ranges).unwrap().bytes;
        let bytes = leaked(AlignedBytes::from_slice(&bytes));
        let view = IntegerView::load(bytes).unwrap();
        let mut c = Program::<Integer>::new(bytes);
        let mut info = sparsecode_integer_model_info::default();
        let told = call!(sparsecode_integer_model_get_info(
            &raw const c.model,
            &raw mut info
        ));
        assert_eq!(told, Status::Ok);
        assert_eq!((info.has_encoder, info.has_signed_codes), (1, 1));
        assert_eq!(info.hidden_units, hidden_units);
        let needed = 18 * 13 + 6 * hidden_units as usize;
        assert_eq!(info.workspace_bytes, needed);
        let (workspace, room) = (c.workspace(), c.workspace_bytes);
        let mut expected = IntegerCodeBuf::new(13);
        let mut rust = IntegerWorkspaceBuf::for_model(view.spec());
        let mut total = 0;
        for seed in 0..6 {
            let levels = samples(21, seed).into_iter();
            let mut patch: Vec<i16> = levels.map(|x| (1000.0 * x) as i16).collect();
            let mut found = patch.clone();
            view.denoise(&mut patch, None, &mut expected, &mut rust, || false)
                .unwrap();
            done!(sparsecode_integer_denoise(
                &raw const c.model,
                found.as_mut_ptr(),
                21,
                null(),
                &raw mut c.code,
                workspace,
                room,
                null_mut()
            ));
            assert_eq!(found, patch);
            total += expected.active();
            let components = (0..c.code.active).map(|position| {
                let (mut index, mut level) = (0, 0);
                done!(sparsecode_integer_code_get(
                    &raw const c.code,
                    position,
                    &raw mut index,
                    &raw mut level
                ));
                (index, level)
            });
            assert!(components.eq(expected.iter()));
        }
        assert!(total > 0);
        c.check();
    }
}
