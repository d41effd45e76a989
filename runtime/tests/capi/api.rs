//! What both halves of the API have: the same functions on other types.

use std::ffi::c_void;
use std::fmt::Debug;
use std::ptr::null_mut;

use sparsecode_formats::AlignedBytes;
use sparsecode_runtime::capi::*;

use crate::common::Random;

use sparsecode_status as Status;

/// Memory with a word before and behind it that nobody may write.
pub(crate) struct Guarded<T> {
    pub(crate) cells: Vec<T>,
    mark: T,
}

impl<T: Copy + PartialEq + Debug> Guarded<T> {
    pub(crate) fn new(length: usize, mark: T) -> Self {
        Self {
            cells: vec![mark; length + 8],
            mark,
        }
    }

    pub(crate) fn start(&mut self) -> *mut T {
        // Four elements keep the alignment of the allocation.
        self.cells[4..].as_mut_ptr()
    }

    pub(crate) fn check(&self) {
        let (front, rest) = self.cells.split_at(4);
        for cell in front.iter().chain(&rest[rest.len() - 4..]) {
            assert_eq!(*cell, self.mark);
        }
    }

    pub(crate) fn is_untouched(&self) -> bool {
        self.cells.iter().all(|cell| *cell == self.mark)
    }
}

// The functions, as C declares them.
pub(crate) type Load<A> =
    unsafe extern "C" fn(*mut <A as Api>::Model, *const c_void, usize) -> Status;
pub(crate) type GetInfo<A> =
    unsafe extern "C" fn(*const <A as Api>::Model, *mut <A as Api>::Info) -> Status;
pub(crate) type SettingsForModel<A> =
    unsafe extern "C" fn(*const <A as Api>::Model, *mut <A as Api>::Settings) -> Status;
pub(crate) type Preprocess<A> = unsafe extern "C" fn(
    *const <A as Api>::Model,
    *mut <A as Api>::Number,
    usize,
    *mut <A as Api>::Normalisation,
) -> Status;
pub(crate) type Restore<A> = unsafe extern "C" fn(
    *const <A as Api>::Model,
    *mut <A as Api>::Number,
    usize,
    *const <A as Api>::Normalisation,
) -> Status;
pub(crate) type Encode<A> = unsafe extern "C" fn(
    *const <A as Api>::Model,
    *const <A as Api>::Number,
    usize,
    *mut <A as Api>::Code,
    *mut c_void,
    usize,
) -> Status;
pub(crate) type Refine<A> = unsafe extern "C" fn(
    *const <A as Api>::Model,
    *const <A as Api>::Number,
    usize,
    *mut <A as Api>::Code,
    *const <A as Api>::Settings,
    *mut c_void,
    usize,
    *mut <A as Api>::Refinement,
) -> Status;
pub(crate) type Decode<A> = unsafe extern "C" fn(
    *const <A as Api>::Model,
    *const <A as Api>::Code,
    *mut <A as Api>::Number,
    usize,
    *mut c_void,
    usize,
) -> Status;
pub(crate) type Denoise<A> = unsafe extern "C" fn(
    *const <A as Api>::Model,
    *mut <A as Api>::Number,
    usize,
    *const <A as Api>::Settings,
    *mut <A as Api>::Code,
    *mut c_void,
    usize,
    *mut <A as Api>::Refinement,
) -> Status;

/// One half of the API: models in floats or in integers.
pub(crate) trait Api: Copy {
    type Model: Copy + Default;
    type Info: Default;
    type Number: Copy + PartialEq + Debug;
    type Code: Copy;
    type Settings: Copy;
    type Normalisation;
    type Refinement: Copy;
    /// The arrays that a code lies in.
    type Arrays;
    /// What a workspace is made of.
    type Word: Copy + PartialEq + Debug;

    const LOAD: Load<Self>;
    const GET_INFO: GetInfo<Self>;
    const SETTINGS_FOR_MODEL: SettingsForModel<Self>;
    const PREPROCESS: Preprocess<Self>;
    const RESTORE: Restore<Self>;
    const ENCODE: Encode<Self>;
    const REFINE: Refine<Self>;
    const DECODE: Decode<Self>;
    const DENOISE: Denoise<Self>;

    /// Names of the arrays, and the sizes of their elements.
    const ARRAYS: &'static [(&'static str, usize)];
    /// Not even a number, if read.
    const MARK: Self::Word;
    /// Where the context, which nothing looks at, lies in the settings.
    const CONTEXT: usize;

    /// A file of a model with 21 inputs and 13 atoms.
    fn file() -> &'static [u8];

    /// A patch, and more numbers if asked for.
    fn samples(count: usize) -> Vec<Self::Number>;

    /// The model's own settings.
    fn settings(model: &Self::Model) -> Self::Settings;

    /// The dimension of codes, and the bytes of a workspace.
    fn sizes(info: &Self::Info) -> (usize, usize);

    /// Arrays for a code.
    fn arrays(code_dim: usize) -> Self::Arrays;

    /// Asks that nothing was written around the arrays; says whether nothing was written at all.
    fn check(arrays: &Self::Arrays) -> bool;

    /// A code's header over arrays from these places on, in the order of [`ARRAYS`](Self::ARRAYS).
    fn code(places: &[*mut c_void], capacity: u16, active: u16) -> Self::Code;

    /// Where the arrays start.
    fn places(arrays: &mut Self::Arrays) -> Vec<*mut c_void>;

    /// What [`code`](Self::code) was given.
    fn parts(code: &Self::Code) -> (Vec<*mut c_void>, u16, u16);
}

/// What a program in C has for a model.
pub(crate) struct Program<A: Api> {
    pub(crate) model: A::Model,
    pub(crate) arrays: A::Arrays,
    pub(crate) workspace: Guarded<A::Word>,
    pub(crate) workspace_bytes: usize,
    pub(crate) code: A::Code,
}

impl<A: Api> Program<A> {
    pub(crate) fn new(bytes: &'static [u8]) -> Self {
        let (mut model, mut info) = (A::Model::default(), A::Info::default());
        // SAFETY: pointers to what lives, and a file as long as it is said to be.
        let statuses = unsafe {
            [
                A::LOAD(&raw mut model, bytes.as_ptr().cast(), bytes.len()),
                A::GET_INFO(&raw const model, &raw mut info),
            ]
        };
        assert_eq!(statuses, [Status::Ok; 2]);
        let (code_dim, workspace_bytes) = A::sizes(&info);
        let mut arrays = A::arrays(code_dim);
        let code = A::code(&A::places(&mut arrays), code_dim as u16, 999);
        Self {
            model,
            arrays,
            workspace: Guarded::new(workspace_bytes / size_of::<A::Word>(), A::MARK),
            workspace_bytes,
            code,
        }
    }

    pub(crate) fn workspace(&mut self) -> *mut c_void {
        self.workspace.start().cast()
    }

    /// Makes the code that of nothing.
    pub(crate) fn clear(&mut self) {
        let (places, capacity, _) = A::parts(&self.code);
        self.code = A::code(&places, capacity, 0);
    }

    /// Asks that nothing was written where nobody may.
    pub(crate) fn check(&self) {
        A::check(&self.arrays);
        self.workspace.check();
    }

    /// Whether neither a code nor a workspace was written.
    pub(crate) fn is_untouched(&self) -> bool {
        A::check(&self.arrays) && self.workspace.is_untouched()
    }

    /// What the functions take, for the patch at the start of some numbers.
    pub(crate) fn arguments(
        &mut self,
        patch: &mut [A::Number],
        settings: &A::Settings,
    ) -> Arguments<A> {
        Arguments {
            model: &raw const self.model,
            patch: patch.as_mut_ptr(),
            length: 21,
            code: &raw mut self.code,
            settings,
            workspace: self.workspace(),
            bytes: self.workspace_bytes,
            refinement: null_mut(),
        }
    }
}

/// What the functions take.
#[derive(Clone, Copy)]
pub(crate) struct Arguments<A: Api> {
    pub(crate) model: *const A::Model,
    pub(crate) patch: *mut A::Number,
    pub(crate) length: usize,
    pub(crate) code: *mut A::Code,
    pub(crate) settings: *const A::Settings,
    pub(crate) workspace: *mut c_void,
    pub(crate) bytes: usize,
    pub(crate) refinement: *mut A::Refinement,
}

/// Calls a function with these arguments as C does.
macro_rules! call_with {
    ($arguments:ident, $function:ident, $($argument:expr),*) => {
        // SAFETY: pointers are null, misaligned, or of live memory as long as the length beside
        // them; the tests write nothing else.
        unsafe { A::$function($arguments.model, $($argument),*) }
    };
}

impl<A: Api> Arguments<A> {
    pub(crate) fn settings_for_model(&self, settings: *mut A::Settings) -> Status {
        call_with!(self, SETTINGS_FOR_MODEL, settings)
    }

    pub(crate) fn get_info(&self, info: *mut A::Info) -> Status {
        call_with!(self, GET_INFO, info)
    }

    pub(crate) fn preprocess(&self, normalisation: *mut A::Normalisation) -> Status {
        call_with!(self, PREPROCESS, self.patch, self.length, normalisation)
    }

    pub(crate) fn restore(&self, normalisation: *const A::Normalisation) -> Status {
        call_with!(self, RESTORE, self.patch, self.length, normalisation)
    }

    pub(crate) fn encode(&self) -> Status {
        call_with!(
            self,
            ENCODE,
            self.patch,
            self.length,
            self.code,
            self.workspace,
            self.bytes
        )
    }

    pub(crate) fn refine(&self) -> Status {
        call_with!(
            self,
            REFINE,
            self.patch,
            self.length,
            self.code,
            self.settings,
            self.workspace,
            self.bytes,
            self.refinement
        )
    }

    pub(crate) fn decode(&self) -> Status {
        call_with!(
            self,
            DECODE,
            self.code,
            self.patch,
            self.length,
            self.workspace,
            self.bytes
        )
    }

    /// Refines, too, if there are settings.
    pub(crate) fn denoise(&self) -> Status {
        call_with!(
            self,
            DENOISE,
            self.patch,
            self.length,
            self.settings,
            self.code,
            self.workspace,
            self.bytes,
            self.refinement
        )
    }
}

/// A file that lives as long as the test's process, as one in flash does.
pub(crate) fn leaked(bytes: AlignedBytes) -> &'static [u8] {
    Box::leak(Box::new(bytes))
}

pub(crate) fn samples(count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random(seed);
    (0..count).map(|_| 0.5 + 0.4 * random.next()).collect()
}
