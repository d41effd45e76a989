//! The LISTA encoder.

use std::vec::Vec;

use super::super::parts::{Parts, bias_levels, invalid, scales};
use super::Plan;
use crate::matrix::ScaleAxis;
use crate::owned::OwnedEncoder;
use crate::quant::check;
use crate::spec::WeightType;
use crate::write::WriteError;

impl Plan {
    /// U, b and S. A level of what they give is worth `unit`.
    pub(super) fn encoder(
        &self,
        file: &mut Parts,
        encoder: &OwnedEncoder,
        unit: f64,
        [codes, inputs]: [usize; 2],
    ) -> Result<u8, WriteError> {
        let input = file.quantize(
            "encoder.input",
            &encoder.input,
            [codes, inputs],
            ScaleAxis::Row,
            self.weights,
        )?;
        let recurrent = file.quantize(
            "encoder.recurrent",
            &encoder.recurrent,
            [codes, codes],
            ScaleAxis::Column,
            WeightType::I8,
        )?;
        check(&encoder.bias, codes).map_err(|error| WriteError::Tensor {
            tensor: "encoder.bias",
            error,
        })?;
        // The finest drives that a shift of 33 or more reaches: it leaves room for sums of two.
        let largest = scales(&recurrent).into_iter().fold(0.0, f64::max);
        let most = (0..=8_u8)
            .rev()
            .find(|f| largest * f64::from(1 << f) < 0.25)
            .ok_or(invalid(
                "encoder.recurrent",
                "weights below 31 in magnitude for integer models",
            ))?;
        let ratios: Vec<f64> = scales(&input)
            .iter()
            .map(|scale| scale * self.units.level / unit)
            .collect();
        let bias: Vec<f64> = bias_levels(&input, self.units.zero)
            .zip(&encoder.bias)
            .map(|(constant, &bias)| (constant + f64::from(bias)) / unit)
            .collect();
        let fraction = self.fraction(self.levels, &input, &ratios, &bias, (0, most))?;
        let finer = f64::from(1 << fraction);
        let ratios: Vec<f64> = ratios.iter().map(|ratio| ratio * finer).collect();
        let shift = file.rescale("encoder.input.multiplier", &ratios, 1)?;
        file.integers.push(("input_shift", shift));
        file.bias("encoder.bias", bias.iter().map(|bias| bias * finer))?;
        let ratios: Vec<f64> = scales(&recurrent)
            .iter()
            .map(|scale| scale * f64::from(1 << fraction))
            .collect();
        let shift = file.rescale("encoder.recurrent.multiplier", &ratios, 33)?;
        file.integers.push(("recurrent_shift", shift));
        file.integers.push(("drive_fraction", i64::from(fraction)));
        file.blocks("encoder.input", &input, self.weights);
        file.blocks("encoder.recurrent", &recurrent, WeightType::I8);
        Ok(fraction)
    }
}
