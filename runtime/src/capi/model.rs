//! Models in float arithmetic.

#![allow(
    unsafe_code,
    reason = "functions that C calls, with C's pointers; the module says what is checked"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "C has no slices: a length beside each pointer"
)]

use core::ffi::c_void;
use core::slice;

use sparsecode_formats::CodeSign;

use super::code::{Buffer, Code, components, sparsecode_code};
use super::memory::{self, Handle, Loaded, Parts, Region, loaded};
use super::settings::{
    is_amount, is_late, sparsecode_best, sparsecode_refine_settings, sparsecode_refinement,
    sparsecode_samples,
};
use super::status::{attempt, sparsecode_status};
use crate::float::decoder;
use crate::float::preprocess::Normalisation;
use crate::float::refine::{Refine, Start};
use crate::float::view::ModelView;
use crate::float::workspace::Scratch;

use sparsecode_status as Status;

/// A model in float arithmetic: where its parts lie in its file. Make it zero or load it before
/// anything else is done with it; nothing has to be released. It may be copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sparsecode_model {
    opaque: [usize; 224],
    aligned: u64,
}

impl Default for sparsecode_model {
    /// A handle without a model.
    fn default() -> Self {
        Self {
            opaque: [0; 224],
            aligned: 0,
        }
    }
}

impl Handle for sparsecode_model {
    type Model = ModelView<'static>;

    const MARK: usize = 0x5bc0_def1;

    fn file_len(model: &ModelView<'static>) -> usize {
        model.file().file_len()
    }
}

/// What a model file says about itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct sparsecode_model_info {
    /// d: samples of a patch.
    pub input_dim: u32,
    /// Rows of a patch; 1 for windows of a signal.
    pub height: u32,
    /// Samples of a row.
    pub width: u32,
    /// l: components of a code, and what the capacity of a code has to be.
    pub code_dim: u32,
    /// m: hidden units of the decoder, or, of a dense encoder, those that the workspace has room
    /// for; 0 without either.
    pub hidden_dim: u32,
    /// Whether there is an encoder. Without one, codes are inferred by refinement alone.
    pub has_encoder: u32,
    /// Whether codes are signed. Otherwise no component of a code is negative.
    pub has_signed_codes: u32,
    /// CRC-32 of the weights, as the file states it: a short identity of the model.
    pub checksum: u32,
    /// Raw samples are normalised to `(x - mean) / deviation`.
    pub mean: f32,
    /// See `mean`.
    pub deviation: f32,
    /// The range of raw samples, for PSNR.
    pub peak: f32,
    /// Bytes of the file.
    pub file_bytes: usize,
    /// Bytes of workspace that the calls need: `SPARSECODE_WORKSPACE_BYTES`.
    pub workspace_bytes: usize,
}

/// What `sparsecode_preprocess` did to one patch, for `sparsecode_restore`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct sparsecode_normalisation {
    /// Mean of the patch after the model's normalisation; 0 where the model leaves it in.
    pub mean: f32,
    /// What the patch was divided by; 1 where the model does not divide. 0 if nothing was done,
    /// because the model wants local contrast normalisation, which needs the surroundings of a
    /// patch and is the caller's.
    pub deviation: f32,
}

impl From<Normalisation> for sparsecode_normalisation {
    fn from(normalisation: Normalisation) -> Self {
        match normalisation {
            Normalisation::Patch { mean, deviation } => Self { mean, deviation },
            Normalisation::External => Self {
                mean: 0.0,
                deviation: 0.0,
            },
        }
    }
}

impl From<sparsecode_normalisation> for Normalisation {
    fn from(normalisation: sparsecode_normalisation) -> Self {
        let sparsecode_normalisation { mean, deviation } = normalisation;
        if deviation == 0.0 {
            Self::External
        } else {
            Self::Patch { mean, deviation }
        }
    }
}

type Float = Loaded<sparsecode_model>;

impl Float {
    pub(super) fn workspace_bytes(&self) -> usize {
        let spec = self.model.spec();
        let numbers = spec.code_dim().saturating_mul(2);
        let numbers = numbers.saturating_add(spec.input_dim());
        numbers
            .saturating_add(spec.hidden_units())
            .saturating_mul(4)
    }

    /// A patch of the model's length.
    fn patch(&self, patch: *const f32, length: usize) -> Result<Region, Status> {
        let region = Region::new(patch, length)?;
        if length == self.model.spec().input_dim() {
            Ok(region)
        } else {
            Err(Status::Length)
        }
    }
}

/// A workspace, cut to the model.
///
/// # Safety
///
/// `workspace` has the model's bytes, is aligned to 4, and nothing else refers to it for `'w`.
unsafe fn scratch_of<'w>(workspace: *mut c_void, model: &Float) -> Scratch<'w> {
    // SAFETY: the caller's promises are those of this function.
    unsafe { scratch_from(&mut Parts::new(workspace), model) }
}

/// A workspace of the model's size from the next parts of memory.
///
/// # Safety
///
/// The next parts have the model's bytes, are aligned to 4, and nothing else refers to them for
/// `'w`.
pub(super) unsafe fn scratch_from<'w>(parts: &mut Parts, model: &Float) -> Scratch<'w> {
    let spec = model.model.spec();
    // SAFETY: together as many numbers as `workspace_bytes` counts, each of 4 bytes.
    unsafe {
        Scratch {
            drive: parts.take(spec.code_dim()),
            point: parts.take(spec.code_dim()),
            residual: parts.take(spec.input_dim()),
            hidden: parts.take(spec.hidden_units()),
        }
    }
}

/// Loads a model file in place: `length` bytes that start on a multiple of 4 and stay where they
/// are, in flash usually. Everything in the file is checked before it is used, except for the
/// checksum. Takes about 4 kB of stack, or 7 kB in a library with variational models, and one pass
/// over the file.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_model_load(
    model: *mut sparsecode_model,
    file: *const c_void,
    length: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe { memory::load(model, file, length, ModelView::load) })
}

/// The same for a file at the start of more memory, such as a flash partition; what follows the
/// file is passed over.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_model_load_slot(
    model: *mut sparsecode_model,
    slot: *const c_void,
    length: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe {
        memory::load(model, slot, length, |bytes| {
            sparsecode_formats::ModelFile::read_slot(bytes).map(ModelView::from)
        })
    })
}

/// Compares the model's weights with the checksum in its file: for files that travelled.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_model_verify_checksum(
    model: *const sparsecode_model,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        Ok(model.model.file().verify_checksum()?)
    })
}

/// Writes what the model's file says about itself.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_model_get_info(
    model: *const sparsecode_model,
    info: *mut sparsecode_model_info,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let loaded = unsafe { loaded(model) }?;
        let (spec, file) = (loaded.model.spec(), loaded.model.file());
        loaded.distinct(&[Region::new(info, 1)?], &[])?;
        let value = sparsecode_model_info {
            input_dim: spec.input_dim() as u32,
            height: spec.input_shape.height.into(),
            width: spec.input_shape.width.into(),
            code_dim: spec.code_dim.into(),
            // Two widths of 16 bits.
            hidden_dim: spec.hidden_units() as u32,
            has_encoder: spec.has_encoder().into(),
            has_signed_codes: (spec.codes == CodeSign::Signed).into(),
            checksum: file.checksum(),
            mean: spec.preprocessing.mean,
            deviation: spec.preprocessing.deviation,
            peak: spec.peak,
            file_bytes: file.file_len(),
            workspace_bytes: loaded.workspace_bytes(),
        };
        // SAFETY: not null, aligned, and the caller's to write.
        unsafe { info.write(value) };
        Ok(())
    })
}

/// Brings raw samples to the unit in which the model was trained, in place. `length` is the model's
/// `input_dim`.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_preprocess(
    model: *const sparsecode_model,
    patch: *mut f32,
    length: usize,
    normalisation: *mut sparsecode_normalisation,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let written = [model.patch(patch, length)?, Region::new(normalisation, 1)?];
        model.distinct(&written, &[])?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        let result = model.model.preprocess(patch)?;
        // SAFETY: as above.
        unsafe { normalisation.write(result.into()) };
        Ok(())
    })
}

/// Brings a patch back to raw samples, in place: undoes `sparsecode_preprocess`.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_restore(
    model: *const sparsecode_model,
    patch: *mut f32,
    length: usize,
    normalisation: *const sparsecode_normalisation,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let output = model.patch(patch, length)?;
        model.distinct(&[output], &[Region::new(normalisation, 1)?])?;
        // SAFETY: a normalisation, as the caller promises.
        let normalisation = unsafe { memory::read(normalisation) }?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        Ok(model.model.restore(patch, normalisation.into())?)
    })
}

/// Makes the sparse code of a preprocessed patch, by the model's encoder; without one, by 200
/// iterations of refinement at most.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_encode(
    model: *const sparsecode_model,
    patch: *const f32,
    length: usize,
    code: *mut sparsecode_code,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        // SAFETY: a code, as the caller promises.
        let mut header = unsafe { memory::read(code) }?;
        let arrays = Code::new(&header, model.model.spec().code_dim)?;
        let [indices, values] = arrays.regions;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [Region::new(code, 1)?, indices, values, scratch];
        model.distinct(&written, &[model.patch(patch, length)?])?;
        // SAFETY: not null, aligned, apart from what is written, and readable.
        let patch = unsafe { slice::from_raw_parts(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let (mut buffer, mut memory) = unsafe { (arrays.buffer(), scratch_of(workspace, model)) };
        model.model.encode(patch, &mut buffer, &mut memory)?;
        header.active = buffer.active as u16;
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        Ok(())
    })
}

/// Draws codes of a preprocessed patch from the posterior of a variational model, and keeps the one
/// with the smallest square error; of equal ones the first. `best` receives its number and its
/// error; it may be null. Needs no more workspace than `sparsecode_encode`. The model's file has to
/// be exported with `--posterior`, and the library made with the feature `variational`; otherwise
/// the answer is `SPARSECODE_NO_POSTERIOR`.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_encode_best_of(
    model: *const sparsecode_model,
    patch: *const f32,
    length: usize,
    samples: *const sparsecode_samples,
    code: *mut sparsecode_code,
    workspace: *mut c_void,
    workspace_bytes: usize,
    best: *mut sparsecode_best,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let samples_region = Region::new(samples, 1)?;
        // SAFETY: a code and samples, as the caller promises.
        let (mut header, samples) = unsafe { (memory::read(code)?, memory::read(samples)?) };
        let arrays = Code::new(&header, model.model.spec().code_dim)?;
        let [indices, values] = arrays.regions;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [
            Region::new(code, 1)?,
            indices,
            values,
            scratch,
            Region::optional(best)?,
        ];
        model.distinct(&written, &[model.patch(patch, length)?, samples_region])?;
        // SAFETY: not null, aligned, apart from what is written, and readable.
        let patch = unsafe { slice::from_raw_parts(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let (mut buffer, mut memory) = unsafe { (arrays.buffer(), scratch_of(workspace, model)) };
        let found = best_of(&model.model, patch, &mut buffer, &samples, &mut memory)?;
        header.active = buffer.active as u16;
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        if !best.is_null() {
            // SAFETY: not null, aligned, and the caller's to write.
            unsafe { best.write(found) };
        }
        Ok(())
    })
}

#[cfg(feature = "variational")]
fn best_of(
    model: &ModelView<'_>,
    patch: &[f32],
    code: &mut Buffer<'_>,
    samples: &sparsecode_samples,
    scratch: &mut Scratch<'_>,
) -> Result<sparsecode_best, Status> {
    let best = model.encode_best_of(patch, code, &(*samples).into(), scratch)?;
    Ok(best.into())
}

/// A library without variational models loads none that has a posterior.
#[cfg(not(feature = "variational"))]
fn best_of(
    _: &ModelView<'_>,
    _: &[f32],
    _: &mut Buffer<'_>,
    _: &sparsecode_samples,
    _: &mut Scratch<'_>,
) -> Result<sparsecode_best, Status> {
    Err(Status::NoPosterior)
}

/// Improves a code for a preprocessed patch by FISTA until it converged, the budget is used, or the
/// deadline function says so. Whatever ended it, the code is whole, and its energy is not above
/// that of the start. `refinement` receives what was done; it may be null.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_refine(
    model: *const sparsecode_model,
    patch: *const f32,
    length: usize,
    code: *mut sparsecode_code,
    settings: *const sparsecode_refine_settings,
    workspace: *mut c_void,
    workspace_bytes: usize,
    refinement: *mut sparsecode_refinement,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let settings_region = Region::new(settings, 1)?;
        // SAFETY: a code and settings, as the caller promises.
        let (mut header, settings) = unsafe { (memory::read(code)?, memory::read(settings)?) };
        let refine = Refine::try_from(&settings)?;
        let arrays = Code::new(&header, model.model.spec().code_dim)?;
        let [indices, values] = arrays.regions;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [
            Region::new(code, 1)?,
            indices,
            values,
            scratch,
            Region::optional(refinement)?,
        ];
        model.distinct(&written, &[model.patch(patch, length)?, settings_region])?;
        // SAFETY: not null, aligned, apart from what is written, and readable.
        let patch = unsafe { slice::from_raw_parts(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let (mut buffer, mut memory) = unsafe { (arrays.buffer(), scratch_of(workspace, model)) };
        if refine.start == Start::Code {
            buffer.keep(header.active, model.model.spec().codes)?;
        }
        let deadline = || is_late(settings.deadline, settings.context);
        let done = model
            .model
            .refine(patch, &mut buffer, &refine, &mut memory, deadline)?;
        header.active = buffer.active as u16;
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        if !refinement.is_null() {
            // SAFETY: not null, aligned, and the caller's to write.
            unsafe { refinement.write(done.into()) };
        }
        Ok(())
    })
}

/// Writes the reconstruction of a code to `patch`, in the unit of the preprocessed patch. The code
/// is checked first: it may come from elsewhere.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_decode(
    model: *const sparsecode_model,
    code: *const sparsecode_code,
    patch: *mut f32,
    length: usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        // SAFETY: a code, as the caller promises.
        let header = unsafe { memory::read(code) }?;
        let arrays = Code::new(&header, model.model.spec().code_dim)?;
        let [indices, values] = arrays.regions;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [model.patch(patch, length)?, scratch];
        model.distinct(&written, &[Region::new(code, 1)?, indices, values])?;
        // SAFETY: not null, aligned, apart from what is written, and readable.
        let (indices, values) = unsafe { arrays.slices() };
        let codes = model.model.spec().codes;
        let (indices, values) = components(indices, values, header.active, codes)?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let memory = unsafe { scratch_of(workspace, model) };
        let indices = indices.iter().map(|index| usize::from(*index));
        let mut entries = indices.zip(values.iter().copied());
        let decoder = &model.model.file().decoder;
        decoder::decode(decoder, &mut entries, memory.hidden, patch);
        Ok(())
    })
}

/// Replaces a raw patch by its reconstruction from a sparse code: preprocess, encode, refine if
/// `settings` is not null, decode, restore. Nothing is encoded if the settings start elsewhere than
/// at the code. `code` receives the code, and `refinement`, unless it is null, what the refinement
/// did, if there was one.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_denoise(
    model: *const sparsecode_model,
    patch: *mut f32,
    length: usize,
    settings: *const sparsecode_refine_settings,
    code: *mut sparsecode_code,
    workspace: *mut c_void,
    workspace_bytes: usize,
    refinement: *mut sparsecode_refinement,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        // SAFETY: a code, as the caller promises.
        let mut header = unsafe { memory::read(code) }?;
        let settings_region = Region::optional(settings)?;
        let settings = if settings.is_null() {
            None
        } else {
            // SAFETY: settings, as the caller promises.
            Some(unsafe { memory::read(settings) }?)
        };
        let refine = settings.as_ref().map(Refine::try_from).transpose()?;
        let arrays = Code::new(&header, model.model.spec().code_dim)?;
        let [indices, values] = arrays.regions;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [
            model.patch(patch, length)?,
            Region::new(code, 1)?,
            indices,
            values,
            scratch,
            Region::optional(refinement)?,
        ];
        model.distinct(&written, &[settings_region])?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let (mut buffer, mut memory) = unsafe { (arrays.buffer(), scratch_of(workspace, model)) };
        let deadline = || settings.is_some_and(|by| is_late(by.deadline, by.context));
        let done =
            model
                .model
                .denoise(patch, refine.as_ref(), &mut buffer, &mut memory, deadline)?;
        header.active = buffer.active as u16;
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        if let Some(done) = done.refinement
            && !refinement.is_null()
        {
            // SAFETY: not null, aligned, and the caller's to write.
            unsafe { refinement.write(done.into()) };
        }
        Ok(())
    })
}

/// Fills in the settings that the model was trained with: its lambda and step size, 200 iterations
/// at most, a tolerance of 1e-3, from the code, no deadline.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_settings_for_model(
    model: *const sparsecode_model,
    settings: *mut sparsecode_refine_settings,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: as the caller promises.
        unsafe { fill_in(model, settings, |model| Refine::for_model(model.spec())) }
    })
}

/// The same with the lambda that removes white noise of standard deviation `sigma`, given in the
/// unit of the *preprocessed* patch: that of the sensor divided by the model's `deviation`, and by
/// the patch's own if the model standardises patches. Finite, 0 or more.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_settings_for_noise(
    model: *const sparsecode_model,
    sigma: f32,
    settings: *mut sparsecode_refine_settings,
) -> sparsecode_status {
    attempt(|| {
        if !is_amount(sigma) {
            return Err(Status::InvalidSetting);
        }
        let for_noise = |model: &ModelView<'_>| Refine::for_noise(model.spec(), sigma);
        // SAFETY: as the caller promises.
        unsafe { fill_in(model, settings, for_noise) }
    })
}

/// # Safety
///
/// `model` and `settings` are as the module's safety section demands.
unsafe fn fill_in(
    model: *const sparsecode_model,
    settings: *mut sparsecode_refine_settings,
    make: impl FnOnce(&ModelView<'_>) -> Refine,
) -> Result<(), Status> {
    // SAFETY: a handle, as the caller promises.
    let model = unsafe { loaded(model) }?;
    model.distinct(&[Region::new(settings, 1)?], &[])?;
    // SAFETY: not null, aligned, and the caller's to write.
    unsafe { settings.write(make(&model.model).into()) };
    Ok(())
}
