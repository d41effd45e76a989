//! For build scripts: a model file as Rust constants, so that shape mistakes do not compile.
//!
//! In `Cargo.toml`, twice: without `std` for the device, with `embed` for the build script.
//!
//! ```toml
//! [dependencies]
//! sparsecode-runtime = { path = "../sparsecode/runtime" }
//! [build-dependencies]
//! sparsecode-runtime = { path = "../sparsecode/runtime", features = ["embed"] }
//! ```
//!
//! In `build.rs`, [`model`] for a file whose arithmetic is in f32, [`integer_model`] for one that
//! was exported with `--activations`:
//!
//! ```no_run
//! fn main() -> Result<(), sparsecode_runtime::embed::EmbedError> {
//!     sparsecode_runtime::embed::model("model.safetensors")
//! }
//! ```
//!
//! In the program, where a patch of any other length than the model's is a type error:
//!
//! ```text
//! mod model {
//!     include!(concat!(env!("OUT_DIR"), "/model.rs"));
//! }
//!
//! let network = model::load()?; // reads the file in place
//! let mut patch = [0.0; model::INPUT_DIM];
//! let (mut code, mut workspace) = (model::Code::new(), model::Workspace::new());
//! network.denoise(&mut patch, None, &mut code, &mut workspace, || false);
//! ```

use std::borrow::ToOwned as _;
use std::format;
use std::path::{Path, PathBuf};
use std::string::String;
use std::{env, fs, io};

use sparsecode_formats::{
    AlignedBytes, INTEGER_FORMAT_VERSION, IntegerFile, ModelFile, ModelSpec, ReadError,
    is_run_weights, write_file,
};

/// Embeds the model file at `path`, relative to the package, as `model.rs` in `OUT_DIR`. Its
/// arithmetic is in f32.
///
/// The same as `Embed::new(path).write()`.
///
/// # Errors
///
/// See [`Embed::write`].
pub fn model(path: impl AsRef<Path>) -> Result<(), EmbedError> {
    Embed::new(path).write()
}

/// Embeds a model file whose arithmetic is in integers (`sparsecode export --activations i16`), as
/// [`model`] does one in f32.
///
/// The same as `Embed::new(path).arithmetic(Arithmetic::Integers).write()`.
///
/// # Errors
///
/// See [`Embed::write`].
pub fn integer_model(path: impl AsRef<Path>) -> Result<(), EmbedError> {
    Embed::new(path).arithmetic(Arithmetic::Integers).write()
}

/// What a program computes in. Samples, codes and the model's type differ, so that a file of the
/// other kind does not compile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// `f32`: [`Model`](crate::Model).
    F32,
    /// Integers: [`IntegerModel`](crate::IntegerModel).
    Integers,
}

/// What to embed, and under which name.
///
/// ```no_run
/// # use sparsecode_runtime::embed::{Embed, EmbedError};
/// # fn main() -> Result<(), EmbedError> {
/// Embed::new("models/ecg.safetensors").name("ecg").write()?;
/// Embed::new("models/bearing.safetensors").name("bearing").write()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Embed {
    path: PathBuf,
    name: String,
    directory: Option<PathBuf>,
    arithmetic: Arithmetic,
}

impl Embed {
    /// The model file at `path`, relative to the package (where build scripts run), for arithmetic
    /// in f32.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            name: "model".to_owned(),
            directory: None,
            arithmetic: Arithmetic::F32,
        }
    }

    /// Says what the program computes in. A file of the other kind is refused.
    #[must_use]
    pub fn arithmetic(mut self, arithmetic: Arithmetic) -> Self {
        self.arithmetic = arithmetic;
        self
    }

    /// Writes `NAME.rs` and `NAME.safetensors` instead of `model.rs` and `model.safetensors`, for
    /// programs with more than one model.
    #[must_use]
    pub fn name(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Writes to this directory instead of `OUT_DIR`.
    #[must_use]
    pub fn directory(mut self, directory: impl AsRef<Path>) -> Self {
        self.directory = Some(directory.as_ref().to_owned());
        self
    }

    /// Checks the file, checksum included, copies it to `OUT_DIR`, writes `NAME.rs` beside it, and
    /// tells Cargo to run the build script again when the file changes.
    ///
    /// `NAME.rs` holds `INPUT_DIM`, `CODE_DIM`, `HIDDEN_DIM`, `BYTES` (the file, aligned), the
    /// types `Model`, `Workspace` and `Code` with these dimensions, and `load()`. For arithmetic in
    /// integers the types are those of [`IntegerModel`](crate::IntegerModel), and there is no
    /// `HIDDEN_DIM`, but for a variational model with a dense encoder `HIDDEN_UNITS`. For a model
    /// that denoises signals there are also `HOP`, `DRIFT`, `Stream`,
    /// `StreamScratch` and `Denoising`; if its file stores no Gram matrix, `load_into(memory)` and
    /// `GRAM_LEN` take the place of `load()`.
    ///
    /// # Errors
    ///
    /// [`EmbedError`] names the file and, if it is not a sound model file, the field; a sound one
    /// of the other [`Arithmetic`] is refused. Returned from `main` it fails the build with that
    /// message.
    pub fn write(&self) -> Result<(), EmbedError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| EmbedError::Io { path, error }
        };
        let directory = match &self.directory {
            Some(directory) => directory.clone(),
            None => env::var_os("OUT_DIR").ok_or(EmbedError::OutDir)?.into(),
        };
        std::println!("cargo::rerun-if-changed={}", self.path.display());

        let bytes = fs::read(&self.path).map_err(at(&self.path))?;
        let source = self.read(&AlignedBytes::from_slice(&bytes))?;

        // The copy is what was checked, even if the original changes before the compiler reads it.
        for (extension, content) in [("safetensors", bytes.as_slice()), ("rs", source.as_bytes())] {
            let target = directory.join(format!("{}.{extension}", self.name));
            write_file(&target, content).map_err(at(&target))?;
        }
        Ok(())
    }

    /// Checks a file, and writes the source.
    fn read(&self, bytes: &[u8]) -> Result<String, EmbedError> {
        let path = || self.path.clone();
        let (found, source) = self.read_any(bytes).map_err(|error| {
            if is_run_weights(bytes) {
                EmbedError::RunWeights { path: path() }
            } else {
                EmbedError::Format {
                    path: path(),
                    error,
                }
            }
        })?;
        if found == self.arithmetic {
            Ok(source)
        } else {
            Err(EmbedError::Arithmetic {
                path: path(),
                found,
            })
        }
    }

    /// Checks a file of either arithmetic.
    fn read_any(&self, bytes: &[u8]) -> Result<(Arithmetic, String), ReadError> {
        match ModelFile::read(bytes) {
            Ok(file) => {
                file.verify_checksum()?;
                let mut types = float_types(&file);
                let is_of_signals = file.spec.input_shape.is_window();
                if let Some(gram) = file.gram.as_ref().filter(|_| is_of_signals) {
                    types.push_str(&stream_types("f32", gram.stream.hop, gram.stream.drift));
                }
                let source = self.source(&types, file.file_len(), LOAD);
                Ok((Arithmetic::F32, source))
            }
            Err(ReadError::UnsupportedVersion {
                found: INTEGER_FORMAT_VERSION,
            }) => {
                let aligned = AlignedBytes::from_slice(bytes);
                let file = aligned.integer_file()?;
                file.verify_checksum()?;
                // The device does not look at the real numbers, so that this is the place to.
                let spec = file.spec()?;
                let mut types = integer_types(&file, &spec);
                let is_of_signals = spec.input_shape.is_window();
                if let Some(gram) = file.gram.as_ref().filter(|_| is_of_signals) {
                    types.push_str(&stream_types("i16", gram.stream.hop, gram.stream.drift));
                }
                let load = match IntegerFile::read(&aligned) {
                    Err(ReadError::GramMemory { needed, .. }) => load_into(needed),
                    _ => LOAD.to_owned(),
                };
                let source = self.source(&types, file.file_len(), &load);
                Ok((Arithmetic::Integers, source))
            }
            Err(error) => Err(error),
        }
    }

    fn source(&self, types: &str, length: usize, load: &str) -> String {
        let name = &self.name;
        format!(
            r#"// Written by `sparsecode_runtime::embed` from a model file; do not edit.

{types}
static FILE: ::sparsecode_runtime::Aligned<[u8; {length}]> =
    ::sparsecode_runtime::Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/{name}.safetensors")));

/// The model file, {length} bytes, aligned.
pub static BYTES: &[u8] = &FILE.0;

{load}"#
        )
    }
}

/// Of a file that stores all that the model needs.
const LOAD: &str = "\
/// Loads the model in place. The file was checked when the program was built.
pub fn load() -> Result<Model, ::sparsecode_runtime::LoadError> {
    Model::load(BYTES)
}
";

/// Of a file whose Gram matrix is built when it is read.
fn load_into(numbers: usize) -> String {
    format!(
        r#"/// Numbers of the Gram matrix, which the file does not store.
pub const GRAM_LEN: usize = {numbers};

/// Loads the model in place, and builds its Gram matrix in `memory`. The file was checked when the
/// program was built.
pub fn load_into(
    memory: &'static mut [i16; GRAM_LEN],
) -> Result<Model, ::sparsecode_runtime::LoadError> {{
    Model::load_into(BYTES, memory)
}}
"#
    )
}

/// Of a model that denoises.
fn stream_types(sample: &str, hop: u16, drift: Option<u16>) -> String {
    let drift = drift.unwrap_or(0);
    format!(
        r#"
// What follows needs the feature `denoise` of `sparsecode-runtime`.

/// Samples from one window to the next.
pub const HOP: usize = {hop};
/// Samples of the moving means that are taken off first; 0 if nothing is.
pub const DRIFT: usize = {drift};

/// A channel of a signal through the model.
pub type Stream = ::sparsecode_runtime::stream::DenoiseStream<{sample}, INPUT_DIM, DRIFT>;
/// Scratch memory for channels.
pub type StreamScratch = ::sparsecode_runtime::stream::DenoiseScratch<{sample}, INPUT_DIM>;
/// What the file says of signals.
pub type Denoising<'m> = ::sparsecode_runtime::stream::Denoising<'m, {sample}, INPUT_DIM, DRIFT>;
"#
    )
}

fn float_types(file: &ModelFile<'_>) -> String {
    let spec = &file.spec;
    let (input_dim, code_dim, hidden_dim) =
        (spec.input_dim(), spec.code_dim(), spec.hidden_units());
    format!(
        r#"// {}, {} weights, arithmetic in f32.

/// Numbers in a patch (`d`).
pub const INPUT_DIM: usize = {input_dim};
/// Components of a code (`l`).
pub const CODE_DIM: usize = {code_dim};
/// Hidden units of the decoder (`m`), or those of a dense encoder; 0 without either.
pub const HIDDEN_DIM: usize = {hidden_dim};

/// The model's type.
pub type Model = ::sparsecode_runtime::Model<'static, INPUT_DIM, CODE_DIM, HIDDEN_DIM>;
/// Scratch memory for the model.
pub type Workspace = ::sparsecode_runtime::Workspace<INPUT_DIM, CODE_DIM, HIDDEN_DIM>;
/// A code of the model.
pub type Code = ::sparsecode_runtime::SparseCode<CODE_DIM>;
"#,
        spec.name(),
        spec.weights
    )
}

fn integer_types(file: &IntegerFile<'_>, spec: &ModelSpec<'_>) -> String {
    let (name, weights) = (spec.name(), spec.weights);
    let (input_dim, code_dim) = (file.spec.input_dim(), file.spec.code_dim());
    // Programs with other models have no third dimension to write.
    let hidden = match file.spec.hidden_units() {
        0 => String::new(),
        units => format!(
            "/// Hidden units of the encoder's widest layer.\npub const HIDDEN_UNITS: usize = {units};\n"
        ),
    };
    let third = if hidden.is_empty() {
        ""
    } else {
        ", HIDDEN_UNITS"
    };
    format!(
        r#"// {name}, {weights} weights, arithmetic in integers.

/// Numbers in a patch (`d`).
pub const INPUT_DIM: usize = {input_dim};
/// Components of a code (`l`).
pub const CODE_DIM: usize = {code_dim};
{hidden}
/// The model's type.
pub type Model = ::sparsecode_runtime::IntegerModel<'static, INPUT_DIM, CODE_DIM{third}>;
/// Scratch memory for the model.
pub type Workspace = ::sparsecode_runtime::IntegerWorkspace<CODE_DIM{third}>;
/// A code of the model.
pub type Code = ::sparsecode_runtime::IntegerCode<CODE_DIM>;
"#
    )
}

/// Why a model could not be embedded. `Debug` shows the message, because that is what Cargo prints
/// for a build script.
#[non_exhaustive]
pub enum EmbedError {
    /// There is no `OUT_DIR`.
    OutDir,
    /// A file cannot be read or written.
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// The file holds the weights of a training run, of which a model file has yet to be made.
    RunWeights {
        /// The file.
        path: PathBuf,
    },
    /// The file is not a sound model file.
    Format {
        /// The file.
        path: PathBuf,
        /// Why, with the field.
        error: ReadError,
    },
    /// The file is of the other kind.
    Arithmetic {
        /// The file.
        path: PathBuf,
        /// What it was exported for.
        found: Arithmetic,
    },
}

impl core::fmt::Display for EmbedError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OutDir => f.write_str(
                "OUT_DIR is not set: call this from a build script, or name a directory",
            ),
            Self::Io { path, error } => write!(f, "{}: {error}", path.display()),
            Self::RunWeights { path } => write!(
                f,
                "{}: these are weights of a run, not a model file; `sparsecode export RUN --output model.safetensors` makes one",
                path.display()
            ),
            Self::Format { path, error } => write!(f, "{}: {error}", path.display()),
            Self::Arithmetic { path, found } => {
                let said = match found {
                    Arithmetic::Integers => {
                        "the file is for arithmetic in integers, the program for f32; call embed::integer_model in the build script, and \
                         let samples be i16; or export the model again without --activations"
                    }
                    Arithmetic::F32 => {
                        "the file is for arithmetic in f32, the program for integers; call embed::model in the build script, and let \
                         samples be f32; or export the model again with --activations i16"
                    }
                };
                write!(f, "{}: {said}", path.display())
            }
        }
    }
}

impl core::fmt::Debug for EmbedError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Display::fmt(self, f)
    }
}

impl core::error::Error for EmbedError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::OutDir | Self::RunWeights { .. } | Self::Arithmetic { .. } => None,
            Self::Io { error, .. } => Some(error),
            Self::Format { error, .. } => Some(error),
        }
    }
}
