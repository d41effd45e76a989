//! The documented arithmetic in integers once more, in 64 bits and without a kernel, and models for
//! it.

use sparsecode_formats::{
    ActivationRanges, Activations, AlignedBytes, CodeSign, IntegerFile, OwnedDecoder, OwnedModel,
    Rescales, WeightType, write_integer,
};
use sparsecode_runtime::{
    DimensionError, IntegerCodeBuf, IntegerCodeBuffer as _, IntegerNormalisation, IntegerRefine,
    IntegerRefinement, IntegerView, IntegerWorkspaceBuf,
};

use super::{Random, Shape, random_model};

pub(crate) const RANGES: ActivationRanges = ActivationRanges {
    input_scale: 1.0 / 1000.0,
    input_min: -1500,
    input_max: 1500,
    code_max: 30.0,
};

pub(crate) fn integer_file(model: &OwnedModel) -> AlignedBytes {
    AlignedBytes::from_slice(&write_integer(model, &RANGES).unwrap().bytes)
}

/// Atoms that a code is found for: those of [`random_model`] are a random basis, which FISTA takes
/// long for.
pub(crate) fn trained_like(shape: Shape, seed: u64) -> OwnedModel {
    let mut model = random_model(shape, seed);
    if let OwnedDecoder::Linear { dictionary } = &mut model.decoder {
        // A positive part in common, as atoms of images have, and some of them longer than others.
        for (k, atom) in dictionary.chunks_mut(shape.input).enumerate() {
            let length = 0.2 + (k % 5) as f32;
            atom.iter_mut().for_each(|w| *w = length * (*w + 0.02));
        }
    }
    model
}

pub(crate) fn samples(random: &mut Random, input_dim: usize) -> Vec<i16> {
    // Runs of zeros, as in images of strokes, and values outside the range.
    let mut levels: Vec<i16> = (0..input_dim)
        .map(|_| (1800.0 * random.next()) as i16)
        .collect();
    let start = input_dim / 3;
    levels[start..start + input_dim / 3].fill(0);
    levels
}

/// The arithmetic of `docs/model-file.md`, in 64 bits and without a kernel.
pub(crate) struct Exact<'a>(pub(crate) IntegerFile<'a>);

impl Exact<'_> {
    pub(crate) fn rescale(sum: i64, multiplier: i32, shift: u8) -> i64 {
        let rounded = (i128::from(sum) * i128::from(multiplier) + (1 << (shift - 1))) >> shift;
        i64::try_from(rounded.clamp(-(1 << 29), 1 << 29)).unwrap()
    }

    pub(crate) fn drives(&self, by: &Rescales<'_>, bias: &[i32], sums: &[i64]) -> Vec<i64> {
        let one = |j: usize| Self::rescale(sums[j], by.multipliers[j], by.shift);
        (0..sums.len())
            .map(|j| one(j) + i64::from(bias[j]))
            .collect()
    }

    pub(crate) fn limit(&self) -> i64 {
        match self.0.spec.activations {
            Activations::I16 => 32767,
            Activations::I8 => 127,
        }
    }

    fn is_signed(&self) -> bool {
        self.0.refiner.codes == CodeSign::Signed
    }

    /// The smallest level of codes whose largest is `limit`.
    fn least(&self, limit: i64) -> i64 {
        if self.is_signed() { -limit } else { 0 }
    }

    pub(crate) fn level(&self, drive: i64, fraction: u8) -> i64 {
        Self::cut(drive, fraction, self.limit())
    }

    pub(crate) fn cut(drive: i64, fraction: u8, limit: i64) -> i64 {
        let half = (1_i64 << fraction) / 2;
        ((drive + half) >> fraction).clamp(0, limit)
    }

    pub(crate) fn encode(&self, x: &[i16]) -> Vec<i64> {
        let encoder = self.0.encoder.unwrap();
        let codes = self.0.spec.code_dim();
        let product = |k: usize| {
            (0..x.len())
                .map(|i| i64::from(encoder.input.get(k, i).unwrap()) * i64::from(x[i]))
                .sum()
        };
        let sums: Vec<i64> = (0..codes).map(product).collect();
        let u = self.drives(&encoder.input_rescale, encoder.bias, &sums);
        let f = encoder.drive_fraction;
        let mut z: Vec<i64> = u.iter().map(|u| self.level(*u, f)).collect();
        for _ in 0..encoder.iterations {
            let by = &encoder.recurrent_rescale;
            let next = |j: usize| {
                let sum = (0..codes)
                    .map(|k| i64::from(encoder.recurrent.get(k, j).unwrap()) * z[k])
                    .sum();
                self.level(u[j] + Self::rescale(sum, by.multipliers[j], by.shift), f)
            };
            z = (0..codes).map(next).collect();
        }
        z
    }

    pub(crate) fn decode(&self, z: &[i64]) -> Vec<i64> {
        let decoder = self.0.decoder;
        let v: Vec<i64> = z
            .iter()
            .zip(decoder.multiplier)
            .map(|(z, m)| (z * i64::from(*m) + (1 << 14)) >> 15)
            .collect();
        (0..self.0.spec.input_dim())
            .map(|i| {
                let sum = (0..z.len())
                    .map(|k| i64::from(decoder.dictionary.get(k, i).unwrap()) * v[k])
                    .sum();
                let level = Self::rescale(sum, decoder.output.multiplier, decoder.output.shift);
                (level + i64::from(decoder.offset)).clamp(-32768, 32767)
            })
            .collect()
    }

    pub(crate) fn correlation(&self, x: &[i16]) -> Vec<i64> {
        let (refiner, dictionary) = (self.0.refiner, self.0.decoder.dictionary);
        let product = |k: usize| {
            (0..x.len())
                .map(|i| i64::from(dictionary.get(k, i).unwrap()) * i64::from(x[i]))
                .sum()
        };
        let sums: Vec<i64> = (0..self.0.spec.code_dim()).map(product).collect();
        self.drives(&refiner.correlation, refiner.bias, &sums)
    }

    /// Levels as refinement has them: with 8 bits more if there are only 8, and of the model's
    /// signs.
    pub(crate) fn fine(&self, z: &[i64]) -> Vec<i64> {
        let factor = if self.limit() == 127 { 256 } else { 1 };
        let cut = |z: i64| z.clamp(self.least(self.limit()), self.limit());
        z.iter().map(|z| cut(*z) * factor).collect()
    }

    pub(crate) fn coarse(&self, z: &[i64]) -> Vec<i64> {
        let fraction = if self.limit() == 127 { 8 } else { 0 };
        let level = |z: i64| self.level(z.abs(), fraction) * z.signum();
        z.iter().map(|z| level(*z)).collect()
    }

    /// `2^(g + 1)` times `½ zᵀĜz − ĉᵀz + threshold·‖z‖₁` of a code.
    pub(crate) fn energy(&self, x: &[i16], z: &[i64]) -> i128 {
        let refiner = self.0.refiner;
        let (z, c) = (self.fine(z), self.correlation(x));
        let finer = refiner.gram_fraction - refiner.point_fraction;
        let gram = |k: usize, j: usize| i128::from(refiner.gram.get(k, j).unwrap());
        let mut energy = 0;
        for (k, &level) in z.iter().enumerate() {
            let product: i128 = (0..z.len()).map(|j| gram(j, k) * i128::from(z[j])).sum();
            let slope = i128::from(c[k] - level.signum() * i64::from(refiner.threshold));
            energy += i128::from(level) * (product - (slope << (finer + 1)));
        }
        energy
    }

    /// The end of a refinement, unless the energy of its start is lower.
    pub(crate) fn better(&self, x: &[i16], start: &[i64], end: Vec<i64>) -> Vec<i64> {
        if self.energy(x, &end) <= self.energy(x, start) {
            end
        } else {
            start.to_vec()
        }
    }

    pub(crate) fn descend(&self, x: &[i16], z: &[i64], passes: u32) -> Vec<i64> {
        let refiner = self.0.refiner;
        let z = self.fine(z);
        let c = self.correlation(x);
        let finer = refiner.gram_fraction - refiner.point_fraction;
        let gram = |k: usize, j: usize| i64::from(refiner.gram.get(k, j).unwrap());
        let mut z = z;
        // Over the active components, then over all, and so on.
        let mut active: Vec<usize> = (0..z.len()).filter(|k| z[*k] != 0).collect();
        let signs: &[i64] = if self.is_signed() { &[1, -1] } else { &[1] };
        let mut all = active.is_empty();
        for _ in 0..passes {
            let visited = if all { (0..z.len()).collect() } else { active };
            // Components that are not negative, then, of signed codes, those that are not positive.
            for sign in signs {
                for &k in &visited {
                    let g: i64 = (0..z.len()).map(|j| gram(j, k) * z[j]).sum();
                    let gain = sign * c[k] - i64::from(refiner.threshold) - ((sign * g) >> finer);
                    let (gain, size) = (gain << finer, sign * z[k]);
                    if (size > 0 || size == 0 && gain > 0) && gram(k, k) > 0 {
                        // Rounded to the nearest, halves away from 0.
                        let half = gram(k, k) / 2 * gain.signum();
                        z[k] = sign * (size + (gain + half) / gram(k, k)).clamp(0, 32767);
                    }
                }
            }
            active = (0..z.len()).filter(|k| z[*k] != 0).collect();
            all = !all || active.is_empty();
        }
        self.coarse(&z)
    }

    pub(crate) fn refine(&self, x: &[i16], z: &[i64], iterations: u32) -> Vec<i64> {
        let refiner = self.0.refiner;
        let codes = z.len();
        let z = self.fine(z);
        let saturate = |x: i64| x.clamp(i32::MIN.into(), i32::MAX.into());
        let c = self.correlation(x);
        let finer = refiner.gram_fraction - refiner.point_fraction;
        let (mut z, mut before) = (z, vec![0_i64; codes]);
        for done in 0..i64::from(iterations) {
            let momentum = ((done << 16) / (done + 3)) << 15;
            let gradient_step = |j: usize| {
                let g: i64 = (0..codes)
                    .map(|k| i64::from(refiner.gram.get(k, j).unwrap()) * z[k])
                    .sum();
                assert!(i32::try_from(g).is_ok(), "what was proved");
                (z[j] << refiner.point_fraction) + c[j] - (g >> finer)
            };
            let a: Vec<i64> = (0..codes).map(gradient_step).collect();
            z = a
                .iter()
                .zip(&before)
                .map(|(a, before)| {
                    let extra = ((saturate(a - before) * momentum) >> 32) << 1;
                    let point = saturate(a + extra);
                    let level = |point: i64| {
                        let shrunken = saturate(point - i64::from(refiner.threshold));
                        Self::cut(shrunken, refiner.point_fraction, 32767)
                    };
                    match level(point) {
                        0 if self.is_signed() => -level(saturate(-point)),
                        level => level,
                    }
                })
                .collect();
            before = a;
        }
        self.coarse(&z)
    }
}

pub(crate) fn dense(view: &Integers<'_>) -> Vec<i64> {
    let mut levels = vec![0; view.file().spec.code_dim()];
    view.code.to_dense(&mut levels);
    levels.into_iter().map(i64::from).collect()
}

/// A model with a code and scratch memory of its size.
pub(crate) struct Integers<'a> {
    pub(crate) view: IntegerView<'a>,
    pub(crate) code: IntegerCodeBuf,
    pub(crate) workspace: IntegerWorkspaceBuf,
}

impl<'a> Integers<'a> {
    pub(crate) fn new(file: IntegerFile<'a>) -> Self {
        Self {
            view: IntegerView::from(file),
            code: IntegerCodeBuf::new(file.spec.code_dim),
            workspace: IntegerWorkspaceBuf::for_model(&file.spec),
        }
    }

    pub(crate) fn file(&self) -> &IntegerFile<'a> {
        self.view.file()
    }

    pub(crate) fn code(&self) -> impl Iterator<Item = (u16, i16)> + '_ {
        self.code.iter()
    }

    /// Components that are 0 are left out.
    pub(crate) fn set_code(&mut self, levels: impl Iterator<Item = (u16, i16)>) {
        self.code.clear();
        for (index, level) in levels.filter(|(_, level)| *level != 0) {
            self.code.push(index, level).unwrap();
        }
    }

    pub(crate) fn preprocess(
        &self,
        patch: &mut [i16],
    ) -> Result<IntegerNormalisation, DimensionError> {
        self.view.preprocess(patch)
    }

    pub(crate) fn restore(
        &self,
        patch: &mut [i16],
        normalisation: IntegerNormalisation,
    ) -> Result<(), DimensionError> {
        self.view.restore(patch, normalisation)
    }

    pub(crate) fn encode(&mut self, patch: &[i16]) -> Result<(), DimensionError> {
        self.view.encode(patch, &mut self.code, &mut self.workspace)
    }

    /// Lends `each` a view that has what a program's closure is lent.
    pub(crate) fn encode_batch(
        &mut self,
        patches: &[i16],
        mut each: impl FnMut(usize, &mut Self),
    ) -> Result<(), DimensionError> {
        let view = self.view;
        let (code, workspace) = (&mut self.code, &mut self.workspace);
        view.encode_batch(patches, code, workspace, |index, code, workspace| {
            let mut lent = Self {
                view,
                code: code.clone(),
                workspace: std::mem::take(workspace),
            };
            each(index, &mut lent);
            (*code, *workspace) = (lent.code, lent.workspace);
        })
    }

    pub(crate) fn refine(
        &mut self,
        patch: &[i16],
        settings: &IntegerRefine,
        deadline: impl FnMut() -> bool,
    ) -> Result<IntegerRefinement, DimensionError> {
        let (code, workspace) = (&mut self.code, &mut self.workspace);
        self.view.refine(patch, code, settings, workspace, deadline)
    }

    pub(crate) fn decode(&mut self, patch: &mut [i16]) -> Result<(), DimensionError> {
        self.view.decode(&self.code, patch, &mut self.workspace)
    }

    pub(crate) fn denoise(
        &mut self,
        patch: &mut [i16],
        settings: Option<&IntegerRefine>,
        deadline: impl FnMut() -> bool,
    ) -> Result<Option<IntegerRefinement>, DimensionError> {
        let (code, workspace) = (&mut self.code, &mut self.workspace);
        self.view
            .denoise(patch, settings, code, workspace, deadline)
    }
}

pub(crate) const SHAPES: [(usize, usize, Option<u8>); 6] = [
    (64, 32, Some(3)),
    (9, 5, Some(1)),
    (1, 1, Some(2)),
    (30, 47, Some(0)),
    (23, 12, None),
    (16, 8, Some(4)),
];

/// Every kind of weights and activations.
pub(crate) const PRECISIONS: [(WeightType, Activations); 4] = [
    (WeightType::I8, Activations::I16),
    (WeightType::I4, Activations::I16),
    (WeightType::I8, Activations::I8),
    (WeightType::I4, Activations::I8),
];

/// Ranges of so many bits; `code_max` cuts codes if it is small.
pub(crate) fn ranges_of(activations: Activations, code_max: f32) -> ActivationRanges {
    let coarser = match activations {
        Activations::I16 => 1,
        Activations::I8 => 12,
    };
    ActivationRanges {
        input_scale: RANGES.input_scale * f32::from(coarser),
        input_min: RANGES.input_min / coarser,
        input_max: RANGES.input_max / coarser,
        code_max,
    }
}
