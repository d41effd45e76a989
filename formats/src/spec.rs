//! What the metadata of a model file says.

use core::fmt;
use core::str::FromStr;

use crate::decimal::{integer, split_once};
use crate::error::SpecError;
use crate::preprocessing::Preprocessing;
use crate::widths::EncoderWidths;

/// How a model was kept from collapsing while it was trained.
///
/// The text name is the metadata's and the command line's; see [`Variant::model_name`] for the name
/// of a whole model.
///
/// ```
/// use sparsecode_formats::Variant;
///
/// assert_eq!("vdl".parse(), Ok(Variant::Vdl));
/// assert_eq!(Variant::Plain.name(), "none");
/// assert_eq!(Variant::Sdl.model_name(true), "sdl-nl");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Variant {
    /// Standard: decoder columns are normalised after every update.
    Sdl,
    /// Variance-regularised: the codes' variance is held up during inference.
    Vdl,
    /// Weight decay on the decoder.
    Wdl,
    /// Decoder only: normalised columns and no encoder.
    Do,
    /// No regularisation: the ablation that is expected to collapse.
    Plain,
    /// Trained from noisy to clean, with an encoder on the Gram matrix.
    Denoise,
    /// Variational sparse coding: codes are signed, and an encoder selects their components.
    Variational,
}

impl Variant {
    /// Every variant that reconstructs, in the order of the paper's tables.
    pub const ALL: [Self; 5] = [Self::Sdl, Self::Vdl, Self::Wdl, Self::Do, Self::Plain];

    /// The text name: `"sdl"`, `"vdl"`, `"wdl"`, `"do"`, `"none"`, `"denoise"` or `"variational"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.model_name(false)
    }

    /// The name of a model of this variant: the text name, with `"-nl"` after it for a
    /// one-hidden-layer decoder.
    #[must_use]
    pub const fn model_name(self, one_hidden: bool) -> &'static str {
        match (self, one_hidden) {
            (Self::Sdl, false) => "sdl",
            (Self::Sdl, true) => "sdl-nl",
            (Self::Vdl, false) => "vdl",
            (Self::Vdl, true) => "vdl-nl",
            (Self::Wdl, false) => "wdl",
            (Self::Wdl, true) => "wdl-nl",
            (Self::Do, false) => "do",
            (Self::Do, true) => "do-nl",
            (Self::Plain, false) => "none",
            (Self::Plain, true) => "none-nl",
            (Self::Denoise, _) => "denoise",
            (Self::Variational, _) => "variational",
        }
    }

    /// Whether models of this variant have an encoder (all but [`Variant::Do`]).
    #[must_use]
    pub const fn has_encoder(self) -> bool {
        !matches!(self, Self::Do)
    }

    /// Whether their encoder is always LISTA. That of a variational model may be.
    #[must_use]
    pub const fn has_lista(self) -> bool {
        !matches!(self, Self::Do | Self::Denoise | Self::Variational)
    }

    /// Whether a model of this variant may have, or lack, LISTA iterations.
    pub(crate) const fn admits_lista(self, has_iterations: bool) -> bool {
        self.has_lista() == has_iterations || matches!(self, Self::Variational)
    }

    /// Whether its encoder ends with a relu, so that codes are not negative.
    pub(crate) const fn has_relu(self) -> bool {
        self.has_encoder() && !matches!(self, Self::Variational)
    }

    /// What is expected of `lista_iterations`.
    pub(crate) const LISTA: &str = match cfg!(feature = "variational") {
        true => {
            "none for the variants do and denoise, none or 0 to 255 for variational, 0 to 255 for \
             every other"
        }
        false => "none for the variants do and denoise, 0 to 255 for every other",
    };
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Variant {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL.into_iter().find(|variant| variant.name() == text);
        let more = match text {
            "denoise" if cfg!(feature = "denoise") => Some(Self::Denoise),
            "variational" if cfg!(feature = "variational") => Some(Self::Variational),
            _ => None,
        };
        known.or(more).ok_or(SpecError {
            field: "variant",
            expected: match cfg!(all(feature = "denoise", feature = "variational")) {
                true => "one of sdl, vdl, wdl, do, none, denoise, variational",
                false => "one of sdl, vdl, wdl, do, none (denoise, variational: by features)",
            },
        })
    }
}

/// The shape of one sample: an image patch, or a window of a 1-D signal (`height` 1).
///
/// As text `28x28`, or `64` for a window. Samples are stored row by row.
///
/// ```
/// use sparsecode_formats::InputShape;
///
/// let shape: InputShape = "28x28".parse()?;
/// assert_eq!(shape.input_dim(), 784);
/// assert_eq!(InputShape::window(64).to_string(), "64");
/// # Ok::<(), sparsecode_formats::SpecError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct InputShape {
    /// Rows of pixels; 1 for a signal.
    pub height: u16,
    /// Pixels in a row, or samples in a window.
    pub width: u16,
}

impl InputShape {
    /// A window of `samples` of a 1-D signal.
    #[must_use]
    pub const fn window(samples: u16) -> Self {
        Self {
            height: 1,
            width: samples,
        }
    }

    /// Numbers in a sample: `height · width`. A model file holds 1 to 65535.
    #[must_use]
    pub const fn input_dim(self) -> usize {
        // Cannot overflow: the product of two u16 fits 32 bits.
        self.height as usize * self.width as usize
    }

    /// Whether samples are windows of a 1-D signal.
    #[must_use]
    pub const fn is_window(self) -> bool {
        self.height == 1
    }

    /// Numbers that weigh overlapping windows: one for each sample of a window; one for each row
    /// and then one for each column of a patch, whose pixels count their product.
    #[must_use]
    pub const fn overlap_weights(self) -> usize {
        match self.is_window() {
            true => self.width as usize,
            false => self.height as usize + self.width as usize,
        }
    }

    /// The longest hop: the shorter side of a patch, or the samples of a window.
    #[must_use]
    pub const fn longest_hop(self) -> u16 {
        match self.is_window() || self.width < self.height {
            true => self.width,
            false => self.height,
        }
    }

    fn check(self) -> Result<(), SpecError> {
        if (1..=usize::from(u16::MAX)).contains(&self.input_dim()) {
            Ok(())
        } else {
            Err(SpecError {
                field: "input_shape",
                expected: "HEIGHTxWIDTH or LENGTH, with 1 to 65535 numbers in all",
            })
        }
    }
}

impl fmt::Display for InputShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_window() {
            write!(f, "{}", self.width)
        } else {
            write!(f, "{}x{}", self.height, self.width)
        }
    }
}

impl FromStr for InputShape {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let error = SpecError {
            field: "input_shape",
            expected: "HEIGHTxWIDTH or LENGTH, with 1 to 65535 numbers in all",
        };
        let (height, width) = split_once(text, b'x').unwrap_or(("1", text));
        let shape = Self {
            height: integer(height).ok_or(error)?,
            width: integer(width).ok_or(error)?,
        };
        shape.check().map(|()| shape)
    }
}

/// The number type of a model's matrices. Biases and scales are always `f32`.
///
/// ```
/// use sparsecode_formats::WeightType;
///
/// assert_eq!("i8".parse(), Ok(WeightType::I8));
/// assert_eq!(WeightType::I16.bytes(), 2);
/// assert_eq!(WeightType::I8.max_level(), Some(127));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WeightType {
    /// 32-bit floating point.
    F32,
    /// 16-bit integers of ±32767 with one `f32` scale per output channel.
    I16,
    /// 8-bit integers of ±127 with one `f32` scale per output channel.
    I8,
    /// 4-bit integers of ±7, for arithmetic in integers only: see [`Nibbles`](crate::Nibbles).
    I4,
}

impl WeightType {
    /// Every type, widest first.
    pub const ALL: [Self; 4] = [Self::F32, Self::I16, Self::I8, Self::I4];

    /// Those of models for arithmetic in `f32`, widest first.
    pub const FLOAT: [Self; 3] = [Self::F32, Self::I16, Self::I8];

    /// The text name: `"f32"`, `"i16"`, `"i8"` or `"i4"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::I16 => "i16",
            Self::I8 => "i8",
            Self::I4 => "i4",
        }
    }

    /// The name of the type in a safetensors header.
    #[must_use]
    pub const fn dtype(self) -> &'static str {
        match self {
            Self::F32 => "F32",
            Self::I16 => "I16",
            Self::I8 => "I8",
            Self::I4 => "U8",
        }
    }

    /// Bytes of one number of that type, which holds one weight, and two of 4 bits.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::I16 => 2,
            Self::I8 | Self::I4 => 1,
        }
    }

    /// The largest magnitude of a quantised weight; `None` for `f32`.
    #[must_use]
    pub const fn max_level(self) -> Option<i16> {
        match self {
            Self::F32 => None,
            Self::I16 => Some(i16::MAX),
            Self::I8 => Some(i8::MAX as i16),
            Self::I4 => Some(7),
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for WeightType {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL.into_iter().find(|weights| weights.name() == text);
        known.ok_or(SpecError {
            field: "weights",
            expected: "one of f32, i16, i8, i4",
        })
    }
}

/// Which signs the components of a model's codes have. Shrinkage by a threshold `t ≥ 0` follows
/// from it: `max(z − t, 0)`, or `sign(z)·max(|z| − t, 0)`.
///
/// The text name is the value of the metadata key `codes`. A file without the key holds a model
/// with non-negative codes.
///
/// ```
/// use sparsecode_formats::CodeSign;
///
/// assert_eq!("signed".parse(), Ok(CodeSign::Signed));
/// assert_eq!(CodeSign::default().name(), "non-negative");
/// assert!(CodeSign::Signed.admits(-0.5) && !CodeSign::NonNegative.admits(-0.5));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum CodeSign {
    /// No component is negative.
    #[default]
    NonNegative,
    /// Components have either sign.
    Signed,
}

impl CodeSign {
    /// Both.
    pub const ALL: [Self; 2] = [Self::NonNegative, Self::Signed];

    /// The text name: `"non-negative"` or `"signed"`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::NonNegative => "non-negative",
            Self::Signed => "signed",
        }
    }

    /// Whether a component may have this value: finite, and, unless codes are signed, not negative.
    #[must_use]
    pub const fn admits(self, value: f32) -> bool {
        value.is_finite() && (value >= 0.0 || matches!(self, Self::Signed))
    }

    pub(crate) const ERROR: SpecError = SpecError {
        field: "codes",
        expected: match cfg!(feature = "variational") {
            true => {
                "non-negative or, for a model without an encoder, signed; signed for the variant \
                 variational"
            }
            false => "non-negative or, for a model without an encoder, signed",
        },
    };
}

impl fmt::Display for CodeSign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for CodeSign {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let known = Self::ALL.into_iter().find(|codes| codes.name() == text);
        known.ok_or(Self::ERROR)
    }
}

/// Where a model comes from. Text holds no `"`, no `\` and no control characters, so that it can be
/// borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Provenance<'a> {
    /// The training data, for people: `"mnist"`, `"builtin:dead-leaves"`.
    pub data: &'a str,
    /// The seed of the run's random numbers.
    pub seed: u64,
    /// The epoch that was exported, counted from 1 (0: untrained).
    pub epoch: u32,
    /// The commit of the program that trained it, or `"unknown"`.
    pub commit: &'a str,
    /// A hash of the resolved configuration.
    pub config_hash: &'a str,
}

/// Everything that the metadata of a model file says, checked.
///
/// Symbols are the paper's: d inputs, l code components, m hidden units, L LISTA iterations, λ and
/// η of FISTA.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelSpec<'a> {
    /// How it was trained.
    pub variant: Variant,
    /// The shape of a sample; its size is d.
    pub input_shape: InputShape,
    /// l, at least 1.
    pub code_dim: u16,
    /// m; 0 for a linear decoder.
    pub hidden_dim: u16,
    /// L, or `None` without LISTA: the variants [`Variant::Do`] and [`Variant::Denoise`], and
    /// [`Variant::Variational`] with a dense encoder.
    pub lista_iterations: Option<u8>,
    /// T, at least 1; `None` but for [`Variant::Denoise`].
    pub gram_iterations: Option<u8>,
    /// Widths of a dense encoder's trunk: those of [`Variant::Variational`] without LISTA; `None`
    /// for every other.
    pub encoder_widths: Option<EncoderWidths>,
    /// Which signs the components of its codes have; signed for [`Variant::Variational`],
    /// non-negative with any other encoder.
    pub codes: CodeSign,
    /// λ, the weight of ‖z‖₁ in training; finite, not negative.
    pub lambda: f32,
    /// η, the largest safe FISTA step of the decoder *as stored*: 1 over a bound of the Lipschitz
    /// constant of the reconstruction's gradient. Finite and above 0.
    pub step_size: f32,
    /// Root mean square of the ℓ2 norms of the decoder's atoms *as stored*: the columns of W, or of
    /// W2·W1. What noise of deviation 1 becomes in a correlation with an atom. Finite and above 0.
    pub atom_norm: f32,
    /// The number type of the matrices.
    pub weights: WeightType,
    /// What is done to raw samples.
    pub preprocessing: Preprocessing,
    /// The range of raw samples, for PSNR: 1 for images in \[0, 1\], maximum − minimum for signals.
    /// Finite, above 0.
    pub peak: f32,
    /// Where it comes from.
    pub provenance: Provenance<'a>,
}

impl<'a> ModelSpec<'a> {
    /// d, the numbers in a sample.
    #[must_use]
    pub const fn input_dim(&self) -> usize {
        self.input_shape.input_dim()
    }

    /// l, the components of a code.
    #[must_use]
    pub const fn code_dim(&self) -> usize {
        self.code_dim as usize
    }

    /// m, the hidden units of the decoder; 0 if it is linear.
    #[must_use]
    pub const fn hidden_dim(&self) -> usize {
        self.hidden_dim as usize
    }

    /// Hidden numbers that a workspace has room for: m, or, of a dense encoder, the outputs of two
    /// layers of its trunk that follow one another, the most of any two.
    #[must_use]
    pub fn hidden_units(&self) -> usize {
        match self.encoder_widths {
            Some(widths) => widths.widest_pair(),
            None => self.hidden_dim(),
        }
    }

    /// Whether the decoder is one matrix.
    #[must_use]
    pub const fn is_linear(&self) -> bool {
        self.hidden_dim == 0
    }

    /// Whether the file has an encoder.
    #[must_use]
    pub const fn has_encoder(&self) -> bool {
        self.lista_iterations.is_some()
            || self.gram_iterations.is_some()
            || self.encoder_widths.is_some()
    }

    /// The model's text name, such as `"vdl"` or `"sdl-nl"`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.variant.model_name(!self.is_linear())
    }

    /// Checks every range that the field's documentation states.
    ///
    /// # Errors
    ///
    /// The first field, in the order of the struct, that is out of range.
    pub fn check(&self) -> Result<(), SpecError> {
        let test = |good: bool, field, expected| {
            if good {
                Ok(())
            } else {
                Err(SpecError { field, expected })
            }
        };
        let positive = |x: f32| x.is_finite() && x > 0.0;
        self.input_shape.check()?;
        test(self.code_dim > 0, "code_dim", "1 to 65535")?;
        test(
            self.variant.admits_lista(self.lista_iterations.is_some()),
            "lista_iterations",
            Variant::LISTA,
        )?;
        if cfg!(feature = "denoise") {
            test(
                (self.variant == Variant::Denoise) == self.gram_iterations.is_some()
                    && self.gram_iterations != Some(0),
                "gram_iterations",
                "1 to 255 for the variant denoise, none for every other",
            )?;
            test(
                self.gram_iterations.is_none() || self.is_linear(),
                "hidden_dim",
                "0 for the variant denoise",
            )?;
        }
        if cfg!(feature = "variational") {
            let is_variational = self.variant == Variant::Variational;
            test(
                self.encoder_widths.is_some()
                    == (is_variational && self.lista_iterations.is_none()),
                "encoder_widths",
                "1 to 4 widths for the variant variational without lista_iterations, none for every other",
            )?;
            test(
                !is_variational || self.is_linear(),
                "hidden_dim",
                "0 for the variant variational",
            )?;
            test(
                !is_variational || self.codes == CodeSign::Signed,
                "codes",
                "signed for the variant variational",
            )?;
        }
        // An encoder's relu gives no negative component.
        if self.variant.has_relu() && self.codes == CodeSign::Signed {
            return Err(CodeSign::ERROR);
        }
        test(
            self.lambda.is_finite() && self.lambda >= 0.0,
            "lambda",
            "a finite number, 0 or more",
        )?;
        test(
            positive(self.step_size),
            "step_size",
            "a finite number above 0",
        )?;
        test(
            positive(self.atom_norm),
            "atom_norm",
            "a finite number above 0",
        )?;
        test(
            self.preprocessing.mean.is_finite(),
            "mean",
            "a finite number",
        )?;
        test(
            positive(self.preprocessing.deviation),
            "deviation",
            "a finite number above 0",
        )?;
        self.preprocessing.contrast.check()?;
        test(positive(self.peak), "peak", "a finite number above 0")?;
        let Provenance {
            data,
            commit,
            config_hash,
            ..
        } = self.provenance;
        for (field, text) in [
            ("data", data),
            ("commit", commit),
            ("config_hash", config_hash),
        ] {
            let plain = text
                .bytes()
                .all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\');
            test(
                plain,
                field,
                "text without quotation marks, backslashes and control characters",
            )?;
        }
        Ok(())
    }
}
