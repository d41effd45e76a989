//! Models in integer arithmetic. No floating-point operation, but in
//! `sparsecode_integer_model_get_scales`.

#![allow(
    unsafe_code,
    reason = "functions that C calls, with C's pointers; the module says what is checked"
)]
#![allow(
    clippy::too_many_arguments,
    reason = "C has no slices: a length beside each pointer"
)]

use core::ffi::{c_int, c_void};
use core::slice;

use sparsecode_formats::{CodeSign, IntegerFile};

use super::integer_code::sparsecode_integer_code;
use super::memory::{self, Handle, Loaded, Parts, Region, loaded};
use super::settings::is_late;
use super::status::{attempt, sparsecode_status, sparsecode_stop};
use crate::integer::code::{self, List};
use crate::integer::denoise;
use crate::integer::preprocess::IntegerNormalisation;
use crate::integer::refine::{IntegerRefine, IntegerRefinement};
use crate::integer::view::IntegerView;
use crate::integer::workspace::Scratch;
use crate::kernels::integer::Entry;
use crate::refinement::Method;

use sparsecode_status as Status;

/// A model in integer arithmetic: where its parts lie in its file. Make it zero or load it before
/// anything else is done with it; nothing has to be released. It may be copied.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sparsecode_integer_model {
    opaque: [usize; 136],
}

impl Default for sparsecode_integer_model {
    /// A handle without a model.
    fn default() -> Self {
        Self { opaque: [0; 136] }
    }
}

impl Handle for sparsecode_integer_model {
    type Model = IntegerView<'static>;

    const MARK: usize = 0x5bc0_def2;

    fn file_len(model: &IntegerView<'static>) -> usize {
        model.file().file_len()
    }
}

/// What a model file says about itself, in integers.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct sparsecode_integer_model_info {
    /// d: samples of a patch.
    pub input_dim: u32,
    /// Rows of a patch; 1 for windows of a signal.
    pub height: u32,
    /// Samples of a row.
    pub width: u32,
    /// l: components of a code, and what the capacity of a code has to be.
    pub code_dim: u32,
    /// Hidden units of a dense encoder that the workspace has room for; 0 without one.
    pub hidden_units: u32,
    /// Whether there is an encoder. Without one, codes are inferred by refinement alone.
    pub has_encoder: u32,
    /// Whether codes are signed. Otherwise no component of a code is negative.
    pub has_signed_codes: u32,
    /// CRC-32 of the weights, as the file states it: a short identity of the model.
    pub checksum: u32,
    /// The smallest raw level; smaller ones are raised to it.
    pub input_min: i16,
    /// The largest raw level; larger ones are cut to it.
    pub input_max: i16,
    /// Bytes of the file.
    pub file_bytes: usize,
    /// Bytes of workspace that the calls need: `SPARSECODE_INTEGER_WORKSPACE_BYTES`, or
    /// `SPARSECODE_DENSE_WORKSPACE_BYTES` with hidden units.
    pub workspace_bytes: usize,
}

/// What `sparsecode_integer_preprocess` did to one patch, for `sparsecode_integer_restore`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct sparsecode_integer_normalisation {
    /// What was subtracted, in raw levels.
    pub mean: i16,
    /// What the patch was divided by, in sixteenths of a raw level; 0 where the model does not
    /// divide.
    pub deviation: u32,
}

/// How a code is refined. Both arrive at the code of the lowest energy.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum sparsecode_method {
    /// Coordinate descent. An iteration is a pass over the active components, or, every second one,
    /// over all. On trained models it arrives with the fewest instructions.
    CoordinateDescent = 0,
    /// FISTA.
    Fista = 1,
}

/// How a code is refined. `sparsecode_integer_settings_for_model` fills it in.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct sparsecode_integer_refine_settings {
    /// A `sparsecode_method`.
    pub method: i32,
    /// What sparsity weighs, 0 or more: the file's for the lambda of training, in proportion for
    /// any other.
    pub threshold: i32,
    /// Largest number of iterations.
    pub max_iterations: u32,
    /// Converged when the code changes by less than 2 to the power of minus this, relative to
    /// itself. 31 and more run until nothing changes.
    pub tolerance_bits: u8,
    /// Whether to start at zero instead of at the code: 0 or anything else.
    pub from_zero: u8,
    /// Asked before each iteration; anything but 0 ends the refinement. May be null.
    pub deadline: Option<unsafe extern "C" fn(context: *mut c_void) -> c_int>,
    /// What `deadline` is called with.
    pub context: *mut c_void,
}

/// What a refinement did.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct sparsecode_integer_refinement {
    /// Iterations made.
    pub iterations: u32,
    /// Why it ended.
    pub stopped: sparsecode_stop,
}

impl sparsecode_integer_refine_settings {
    fn refine(&self) -> Result<IntegerRefine, Status> {
        const COORDINATE_DESCENT: i32 = sparsecode_method::CoordinateDescent as i32;
        const FISTA: i32 = sparsecode_method::Fista as i32;
        if self.threshold < 0 {
            return Err(Status::InvalidSetting);
        }
        Ok(IntegerRefine {
            method: match self.method {
                COORDINATE_DESCENT => Method::CoordinateDescent,
                FISTA => Method::Fista,
                _ => return Err(Status::InvalidSetting),
            },
            threshold: self.threshold,
            max_iterations: self.max_iterations,
            tolerance_bits: self.tolerance_bits,
            from_zero: self.from_zero != 0,
        })
    }

    fn is_late(&self) -> bool {
        is_late(self.deadline, self.context)
    }
}

impl From<IntegerRefinement> for sparsecode_integer_refinement {
    fn from(refinement: IntegerRefinement) -> Self {
        Self {
            iterations: refinement.iterations,
            stopped: refinement.stopped.into(),
        }
    }
}

type Integer = Loaded<sparsecode_integer_model>;

/// Three sums, a list and a vector of levels: 18 bytes a component.
const WORKSPACE_BYTES: usize = 3 * size_of::<i32>() + size_of::<Entry>() + size_of::<i16>();
/// A sum and a level: 6 bytes a hidden unit.
const HIDDEN_BYTES: usize = size_of::<i32>() + size_of::<i16>();

impl Integer {
    pub(super) fn workspace_bytes(&self) -> usize {
        let spec = self.model.spec();
        let hidden = spec.hidden_units().saturating_mul(HIDDEN_BYTES);
        let codes = spec.code_dim().saturating_mul(WORKSPACE_BYTES);
        codes.saturating_add(hidden)
    }

    /// A patch of the model's length.
    fn patch(&self, patch: *const i16, length: usize) -> Result<Region, Status> {
        let region = Region::new(patch, length)?;
        if length == self.model.spec().input_dim() {
            Ok(region)
        } else {
            Err(Status::Length)
        }
    }

    /// A code's array, cut to the model's dimension.
    fn code(&self, header: &sparsecode_integer_code) -> Result<Region, Status> {
        let code_dim = self.model.spec().code_dim;
        let region = Region::new(header.entries, usize::from(code_dim))?;
        if header.capacity < code_dim {
            return Err(Status::TooSmall);
        }
        Ok(region)
    }

    /// The entries of a code that is only read, if they are a code.
    ///
    /// # Safety
    ///
    /// `code` checked the header, and nothing writes its array for `'c`.
    unsafe fn components<'c>(
        &self,
        header: &sparsecode_integer_code,
    ) -> Result<&'c [Entry], Status> {
        if header.active > self.model.spec().code_dim {
            return Err(Status::InvalidCode);
        }
        // SAFETY: an entry is a `u32`; checked as far as that goes, and the caller's promise.
        let entries = unsafe { slice::from_raw_parts(header.entries.cast(), header.active.into()) };
        if code::is_code(
            entries,
            self.model.spec().code_dim,
            self.model.file().refiner.codes,
        ) {
            Ok(entries)
        } else {
            Err(Status::InvalidCode)
        }
    }

    /// The array of a code that is written.
    ///
    /// # Safety
    ///
    /// `code` checked the header, and nothing else refers to its array for `'c`.
    unsafe fn entries<'c>(&self, header: &sparsecode_integer_code) -> &'c mut [Entry] {
        let code_dim = self.model.spec().code_dim();
        // SAFETY: an entry is a `u32`; the rest is the caller's promise.
        unsafe { slice::from_raw_parts_mut(header.entries.cast(), code_dim) }
    }

    /// A workspace, cut to the model.
    ///
    /// # Safety
    ///
    /// `workspace` has the model's bytes, is aligned to 4, and nothing else refers to it for `'w`.
    unsafe fn scratch<'w>(&self, workspace: *mut c_void) -> Scratch<'w> {
        // SAFETY: the caller's promises are those of this function.
        unsafe { self.scratch_from(&mut Parts::new(workspace)) }
    }

    /// A workspace of the model's size from the next parts of memory.
    ///
    /// # Safety
    ///
    /// The next parts have the model's bytes, are aligned to 4, and nothing else refers to them for
    /// `'w`.
    pub(super) unsafe fn scratch_from<'w>(&self, parts: &mut Parts) -> Scratch<'w> {
        let spec = self.model.spec();
        let (code_dim, hidden_units) = (spec.code_dim(), spec.hidden_units());
        // SAFETY: together `WORKSPACE_BYTES` a component and `HIDDEN_BYTES` a hidden unit; what
        // needs the larger alignment comes first.
        unsafe {
            Scratch {
                sums: parts.take(code_dim),
                drive: parts.take(code_dim),
                previous: parts.take(code_dim),
                entries: parts.take(code_dim),
                hidden_sums: parts.take(hidden_units),
                levels: parts.take(code_dim),
                hidden: parts.take(hidden_units),
            }
        }
    }
}

/// Loads a model file in place: `length` bytes that start on a multiple of 4 and stay where they
/// are, in flash usually. Everything in the file is checked before it is used, except for the
/// checksum. Takes about 3 kB of stack, or 6 kB in a library with variational models, and one pass
/// over the file.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_model_load(
    model: *mut sparsecode_integer_model,
    file: *const c_void,
    length: usize,
) -> sparsecode_status {
    // SAFETY: the caller's promises are those of this function.
    attempt(|| unsafe { memory::load(model, file, length, IntegerView::load) })
}

/// The same for a file that leaves its Gram matrix to be built (`sparsecode export --gram built`),
/// in `SPARSECODE_INTEGER_GRAM_LENGTH` numbers of memory that nothing writes as long as the handle
/// is in use. A file that stores its Gram matrix, or has none, leaves that memory alone.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_model_load_into(
    model: *mut sparsecode_integer_model,
    file: *const c_void,
    length: usize,
    gram: *mut i16,
    gram_length: usize,
) -> sparsecode_status {
    attempt(|| {
        let memory = Region::new(gram, gram_length)?;
        let others = [
            Region::new(model, 1)?,
            Region::new(file.cast::<u8>(), length)?,
        ];
        memory::distinct(&[memory], &others)?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write; it
        // stays as it is while the handle is in use.
        let gram: &'static mut [i16] = unsafe { slice::from_raw_parts_mut(gram, gram_length) };
        // SAFETY: the caller's promises are those of this function.
        unsafe {
            memory::load(model, file, length, |bytes| {
                IntegerFile::read_into(bytes, gram).map(IntegerView::from)
            })
        }
    })
}

/// Compares the model's weights with the checksum in its file: for files that travelled.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_model_verify_checksum(
    model: *const sparsecode_integer_model,
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
pub unsafe extern "C" fn sparsecode_integer_model_get_info(
    model: *const sparsecode_integer_model,
    info: *mut sparsecode_integer_model_info,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let loaded = unsafe { loaded(model) }?;
        let (file, spec) = (loaded.model.file(), loaded.model.spec());
        loaded.distinct(&[Region::new(info, 1)?], &[])?;
        let value = sparsecode_integer_model_info {
            input_dim: spec.input_dim() as u32,
            height: spec.input_shape.height.into(),
            width: spec.input_shape.width.into(),
            code_dim: spec.code_dim.into(),
            hidden_units: spec.hidden_units() as u32, // 16 bits
            has_encoder: (file.encoder.is_some() || file.variational.is_some()).into(),
            has_signed_codes: (file.refiner.codes == CodeSign::Signed).into(),
            checksum: file.checksum(),
            input_min: spec.input_min,
            input_max: spec.input_max,
            file_bytes: file.file_len(),
            workspace_bytes: loaded.workspace_bytes(),
        };
        // SAFETY: not null, aligned, and the caller's to write.
        unsafe { info.write(value) };
        Ok(())
    })
}

/// Writes what one level is in real units: of a raw sample, and of a component of a code. Floating
/// point, unlike every other function for integer models.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_model_get_scales(
    model: *const sparsecode_integer_model,
    input_scale: *mut f32,
    code_scale: *mut f32,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let written = [Region::new(input_scale, 1)?, Region::new(code_scale, 1)?];
        model.distinct(&written, &[])?;
        let (input, code) = model.model.file().scales()?;
        // SAFETY: not null, aligned, and the caller's to write.
        unsafe {
            input_scale.write(input);
            code_scale.write(code);
        }
        Ok(())
    })
}

/// Brings raw levels to those that the weights take, in place. `length` is the model's `input_dim`.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_preprocess(
    model: *const sparsecode_integer_model,
    patch: *mut i16,
    length: usize,
    normalisation: *mut sparsecode_integer_normalisation,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let written = [model.patch(patch, length)?, Region::new(normalisation, 1)?];
        model.distinct(&written, &[])?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        let IntegerNormalisation { mean, deviation } = model.model.preprocess(patch)?;
        // SAFETY: as above.
        unsafe { normalisation.write(sparsecode_integer_normalisation { mean, deviation }) };
        Ok(())
    })
}

/// Brings a decoded patch back to raw levels, in place: undoes `sparsecode_integer_preprocess`.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_restore(
    model: *const sparsecode_integer_model,
    patch: *mut i16,
    length: usize,
    normalisation: *const sparsecode_integer_normalisation,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let output = model.patch(patch, length)?;
        model.distinct(&[output], &[Region::new(normalisation, 1)?])?;
        // SAFETY: a normalisation, as the caller promises.
        let sparsecode_integer_normalisation { mean, deviation } =
            unsafe { memory::read(normalisation) }?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        let normalisation = IntegerNormalisation { mean, deviation };
        Ok(model.model.restore(patch, normalisation)?)
    })
}

/// Makes the sparse code of a preprocessed patch, by the model's encoder; without one, by 200
/// iterations of refinement at most.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_encode(
    model: *const sparsecode_integer_model,
    patch: *const i16,
    length: usize,
    code: *mut sparsecode_integer_code,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        // SAFETY: a code, as the caller promises.
        let mut header = unsafe { memory::read(code) }?;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [Region::new(code, 1)?, model.code(&header)?, scratch];
        model.distinct(&written, &[model.patch(patch, length)?])?;
        // SAFETY: not null, aligned, apart from what is written, and readable.
        let patch = unsafe { slice::from_raw_parts(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let (entries, mut scratch) = unsafe { (model.entries(&header), model.scratch(workspace)) };
        header.active = 0;
        let mut list = List {
            entries,
            active: &mut header.active,
        };
        model.model.encode(patch, &mut list, &mut scratch)?;
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        Ok(())
    })
}

/// Improves a code for a preprocessed patch by coordinate descent or FISTA until it converged, the
/// budget is used, or the deadline function says so. Whatever ended it, the code is whole, and its
/// energy is not above that of the start. `refinement` receives what was done; it may be null.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_refine(
    model: *const sparsecode_integer_model,
    patch: *const i16,
    length: usize,
    code: *mut sparsecode_integer_code,
    settings: *const sparsecode_integer_refine_settings,
    workspace: *mut c_void,
    workspace_bytes: usize,
    refinement: *mut sparsecode_integer_refinement,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        let settings_region = Region::new(settings, 1)?;
        // SAFETY: a code and settings, as the caller promises.
        let (mut header, settings) = unsafe { (memory::read(code)?, memory::read(settings)?) };
        let refine = settings.refine()?;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [
            Region::new(code, 1)?,
            model.code(&header)?,
            scratch,
            Region::optional(refinement)?,
        ];
        model.distinct(&written, &[model.patch(patch, length)?, settings_region])?;
        if refine.from_zero {
            header.active = 0;
        } else {
            // SAFETY: checked; the reference is given up before another is made.
            unsafe { model.components(&header) }?;
        }
        // SAFETY: not null, aligned, apart from what is written, and readable.
        let patch = unsafe { slice::from_raw_parts(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let (entries, mut scratch) = unsafe { (model.entries(&header), model.scratch(workspace)) };
        let mut list = List {
            entries,
            active: &mut header.active,
        };
        let deadline = || settings.is_late();
        let done = model
            .model
            .refine(patch, &mut list, &refine, &mut scratch, deadline)?;
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        if !refinement.is_null() {
            // SAFETY: not null, aligned, and the caller's to write.
            unsafe { refinement.write(done.into()) };
        }
        Ok(())
    })
}

/// Writes the reconstruction of a code to `patch`, in raw levels up to the patch's own contrast.
/// The code is checked first: it may come from elsewhere.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_decode(
    model: *const sparsecode_integer_model,
    code: *const sparsecode_integer_code,
    patch: *mut i16,
    length: usize,
    workspace: *mut c_void,
    workspace_bytes: usize,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        // SAFETY: a code, as the caller promises.
        let header = unsafe { memory::read(code) }?;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [model.patch(patch, length)?, scratch];
        model.distinct(&written, &[Region::new(code, 1)?, model.code(&header)?])?;
        // SAFETY: checked, and apart from what is written.
        let components = unsafe { model.components(&header) }?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let mut scratch = unsafe { model.scratch(workspace) };
        denoise::decode(model.model.file(), components, patch, &mut scratch);
        Ok(())
    })
}

/// Replaces a raw patch by its reconstruction from a sparse code: preprocess, encode, refine if
/// `settings` is not null, decode, restore. Nothing is encoded if the settings start at zero.
/// `code` receives the code, and `refinement`, unless it is null, what the refinement did, if there
/// was one.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_denoise(
    model: *const sparsecode_integer_model,
    patch: *mut i16,
    length: usize,
    settings: *const sparsecode_integer_refine_settings,
    code: *mut sparsecode_integer_code,
    workspace: *mut c_void,
    workspace_bytes: usize,
    refinement: *mut sparsecode_integer_refinement,
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
        let refine = settings.map(|settings| settings.refine()).transpose()?;
        let scratch = memory::workspace(workspace, workspace_bytes, model.workspace_bytes())?;
        let written = [
            model.patch(patch, length)?,
            Region::new(code, 1)?,
            model.code(&header)?,
            scratch,
            Region::optional(refinement)?,
        ];
        model.distinct(&written, &[settings_region])?;
        // SAFETY: not null, aligned, apart from what else is in use, and the caller's to write.
        let patch = unsafe { slice::from_raw_parts_mut(patch, length) };
        // SAFETY: checked, and apart from what else is in use.
        let (entries, mut scratch) = unsafe { (model.entries(&header), model.scratch(workspace)) };
        header.active = 0;
        let mut list = List {
            entries,
            active: &mut header.active,
        };
        let deadline = || settings.is_some_and(|settings| settings.is_late());
        let done =
            model
                .model
                .denoise(patch, refine.as_ref(), &mut list, &mut scratch, deadline)?;
        // SAFETY: read above, and the caller's to write.
        unsafe { code.write(header) };
        if let Some(done) = done
            && !refinement.is_null()
        {
            // SAFETY: not null, aligned, and the caller's to write.
            unsafe { refinement.write(done.into()) };
        }
        Ok(())
    })
}

/// Fills in the settings that the model was trained with: coordinate descent, its threshold, 200
/// iterations at most, a tolerance of 10 bits, from the code, no deadline.
///
/// # Safety
///
/// As at the top of the header.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sparsecode_integer_settings_for_model(
    model: *const sparsecode_integer_model,
    settings: *mut sparsecode_integer_refine_settings,
) -> sparsecode_status {
    attempt(|| {
        // SAFETY: a handle, as the caller promises.
        let model = unsafe { loaded(model) }?;
        model.distinct(&[Region::new(settings, 1)?], &[])?;
        let refine = IntegerRefine::for_model(model.model.file());
        let value = sparsecode_integer_refine_settings {
            method: match refine.method {
                Method::CoordinateDescent => sparsecode_method::CoordinateDescent,
                Method::Fista => sparsecode_method::Fista,
            } as i32,
            threshold: refine.threshold,
            max_iterations: refine.max_iterations,
            tolerance_bits: refine.tolerance_bits,
            from_zero: refine.from_zero.into(),
            deadline: None,
            context: core::ptr::null_mut(),
        };
        // SAFETY: not null, aligned, and the caller's to write.
        unsafe { settings.write(value) };
        Ok(())
    })
}
