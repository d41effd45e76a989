//! Signed codes: the bits of the Rust API, and a refusal where a model has none.

use std::ptr::{null, null_mut};

use sparsecode_formats::{AlignedBytes, CodeSign, IntegerFile, WeightType};
use sparsecode_runtime::capi::{self, *};
use sparsecode_runtime::{
    CodeBuffer, IntegerRefine, ModelView, Refine, SparseCodeBuf, WorkspaceBuf,
};

use crate::common::exact::{Integers, integer_file, trained_like};
use crate::common::{Random, Shape, file, random_model};

use sparsecode_status as Status;

const SHAPE: Shape = Shape {
    input: 21,
    code: 13,
    hidden: 0,
    lista: None,
};

/// Of a model's file that lives for ever, as C's handles ask.
fn float_file(codes: CodeSign) -> &'static AlignedBytes {
    let mut model = random_model(SHAPE, 5);
    model.spec.codes = codes;
    Box::leak(Box::new(file(&model, WeightType::I8)))
}

fn integers(codes: CodeSign) -> &'static AlignedBytes {
    let mut model = trained_like(SHAPE, 6);
    model.spec.codes = codes;
    Box::leak(Box::new(integer_file(&model)))
}

/// A model of either sign, and memory for a code.
struct Floats {
    model: sparsecode_model,
    indices: [u16; 13],
    values: [f32; 13],
    workspace: [u32; 64],
}

impl Floats {
    fn new(codes: CodeSign) -> Self {
        let bytes = float_file(codes);
        let mut model = sparsecode_model::default();
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        let loaded = call!(sparsecode_model_load(&raw mut model, start, length));
        assert_eq!(loaded, Status::Ok);
        let mut info = sparsecode_model_info::default();
        let told = call!(sparsecode_model_get_info(&raw const model, &raw mut info));
        assert_eq!(told, Status::Ok);
        assert_eq!(info.has_signed_codes, u32::from(codes == CodeSign::Signed));
        Self {
            model,
            indices: [0; 13],
            values: [0.0; 13],
            workspace: [0; 64],
        }
    }

    fn code(&mut self, active: u16) -> sparsecode_code {
        sparsecode_code {
            indices: self.indices.as_mut_ptr(),
            values: self.values.as_mut_ptr(),
            capacity: 13,
            active,
        }
    }

    fn decode(&mut self, active: u16, patch: &mut [f32]) -> Status {
        let code = self.code(active);
        let workspace = self.workspace.as_mut_ptr().cast();
        call!(sparsecode_decode(
            &raw const self.model,
            &raw const code,
            patch.as_mut_ptr(),
            21,
            workspace,
            256,
        ))
    }

    /// From the code in the arrays on.
    fn refine(&mut self, active: u16, patch: &[f32]) -> (Status, u16) {
        let mut settings = Refine {
            max_iterations: 20,
            ..Refine::for_model(
                ModelView::load(float_file(CodeSign::Signed))
                    .unwrap()
                    .spec(),
            )
        }
        .into();
        let settings: *mut sparsecode_refine_settings = &raw mut settings;
        let mut code = self.code(active);
        let workspace = self.workspace.as_mut_ptr().cast();
        let status = call!(sparsecode_refine(
            &raw const self.model,
            patch.as_ptr(),
            21,
            &raw mut code,
            settings,
            workspace,
            256,
            null_mut(),
        ));
        (status, code.active)
    }
}

#[test]
fn codes_in_floats() {
    let view = ModelView::load(float_file(CodeSign::Signed)).unwrap();
    let patch = Random(7).vector(21, 2.0);
    let (mut code, mut workspace) = (SparseCodeBuf::new(13), WorkspaceBuf::for_model(view.spec()));
    let mut c = Floats::new(CodeSign::Signed);
    let mut header = c.code(0);
    let memory = c.workspace.as_mut_ptr().cast();
    let encoded = call!(sparsecode_encode(
        &raw const c.model,
        patch.as_ptr(),
        21,
        &raw mut header,
        memory,
        256,
    ));
    assert_eq!(encoded, Status::Ok);
    view.encode(&patch, &mut code, &mut workspace).unwrap();
    let active = code.active();
    assert_eq!(usize::from(header.active), active);
    assert_eq!(c.indices[..active], *code.indices());
    assert_eq!(c.values[..active], *code.values());
    assert!(c.values.iter().any(|z| *z < 0.0) && c.values.iter().any(|z| *z > 0.0));

    let settings = Refine {
        max_iterations: 20,
        ..Refine::for_model(view.spec())
    };
    let (status, refined) = c.refine(header.active, &patch);
    assert_eq!(status, Status::Ok);
    let _ = view
        .refine(&patch, &mut code, &settings, &mut workspace, || false)
        .unwrap();
    assert_eq!(c.values[..usize::from(refined)], *code.values());

    let (mut found, mut expected) = (vec![0.0; 21], vec![0.0; 21]);
    assert_eq!(c.decode(refined, &mut found), Status::Ok);
    view.decode(&code, &mut expected, &mut workspace).unwrap();
    assert_eq!(found, expected);

    // The same code is none of a model whose codes are not negative; nothing is written then.
    let mut other = Floats::new(CodeSign::NonNegative);
    (other.indices, other.values) = (c.indices, c.values);
    assert_eq!(other.decode(refined, &mut found), Status::InvalidCode);
    assert_eq!(found, expected);
    assert_eq!(other.refine(refined, &patch).0, Status::InvalidCode);
    assert_eq!(other.values, c.values);
    // Neither sign makes a code of these.
    for bad in [0.0, -0.0, f32::NAN, f32::NEG_INFINITY] {
        c.values[0] = bad;
        assert_eq!(c.decode(1, &mut found), Status::InvalidCode, "{bad}");
    }
}

#[test]
fn codes_in_integers() {
    let file = IntegerFile::read(integers(CodeSign::Signed)).unwrap();
    let mut view = Integers::new(file);
    let patch: Vec<i16> = Random(8)
        .vector(21, 1400.0)
        .iter()
        .map(|x| *x as i16)
        .collect();
    let load = |codes| {
        let bytes = integers(codes);
        let mut model = sparsecode_integer_model::default();
        let (start, length) = (bytes.as_ptr().cast(), bytes.len());
        let loaded = call!(sparsecode_integer_model_load(&raw mut model, start, length));
        assert_eq!(loaded, Status::Ok);
        let mut info = sparsecode_integer_model_info::default();
        let told = call!(sparsecode_integer_model_get_info(
            &raw const model,
            &raw mut info
        ));
        assert_eq!(told, Status::Ok);
        assert_eq!(info.has_signed_codes, u32::from(codes == CodeSign::Signed));
        model
    };
    let (model, other) = (load(CodeSign::Signed), load(CodeSign::NonNegative));
    let (mut entries, mut workspace) = ([0_u32; 13], [0_u32; 13 * 18 / 4 + 1]);
    let mut code = sparsecode_integer_code {
        entries: entries.as_mut_ptr(),
        capacity: 13,
        active: 0,
    };
    for (index, level) in [(2, 900), (5, -1200), (11, -32767)] {
        let pushed = call!(sparsecode_integer_code_push(&raw mut code, index, level));
        assert_eq!(pushed, Status::Ok);
    }
    view.set_code([(2, 900), (5, -1200), (11, -32767)].into_iter());
    let memory = workspace.as_mut_ptr().cast();
    let bytes = 13 * 18;

    let (mut found, mut expected) = (vec![0; 21], vec![0; 21]);
    let decode = |model: &sparsecode_integer_model, code, output: &mut [i16]| {
        let output = output.as_mut_ptr();
        call!(sparsecode_integer_decode(
            model, code, output, 21, memory, bytes
        ))
    };
    assert_eq!(decode(&model, &raw const code, &mut found), Status::Ok);
    view.decode(&mut expected).unwrap();
    assert_eq!(found, expected);
    assert_eq!(
        decode(&other, &raw const code, &mut found),
        Status::InvalidCode
    );

    let mut settings = sparsecode_integer_refine_settings {
        method: 0,
        threshold: 0,
        max_iterations: 0,
        tolerance_bits: 0,
        from_zero: 0,
        deadline: None,
        context: null_mut(),
    };
    let filled = call!(sparsecode_integer_settings_for_model(
        &raw const model,
        &raw mut settings
    ));
    assert_eq!(filled, Status::Ok);
    let mut refine = |model: &sparsecode_integer_model| {
        let start = patch.as_ptr();
        let (code, settings) = (&raw mut code, &raw const settings);
        let status = call!(sparsecode_integer_refine(
            model,
            start,
            21,
            code,
            settings,
            memory,
            bytes,
            null_mut(),
        ));
        // SAFETY: the pointer is that of the code above.
        (status, unsafe { *code })
    };
    assert_eq!(refine(&other).0, Status::InvalidCode);
    let (status, refined) = refine(&model);
    assert_eq!(status, Status::Ok);
    view.refine(&patch, &IntegerRefine::for_model(&file), || false)
        .unwrap();
    let components = |code: sparsecode_integer_code| -> Vec<(u16, i16)> {
        (0..code.active)
            .map(|position| {
                let (mut index, mut level) = (0, 0);
                let (i, z) = (&raw mut index, &raw mut level);
                let got = call!(sparsecode_integer_code_get(&raw const code, position, i, z));
                assert_eq!(got, Status::Ok);
                (index, level)
            })
            .collect()
    };
    let found = components(refined);
    assert_eq!(found, view.code().collect::<Vec<_>>());
    assert!(found.iter().any(|(_, z)| *z < 0) && found.iter().any(|(_, z)| *z > 0));
    let none = call!(sparsecode_integer_code_get(
        null(),
        0,
        null_mut(),
        null_mut()
    ));
    assert_eq!(none, Status::NullPointer);
}
