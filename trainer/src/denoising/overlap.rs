//! Stretches in overlapping windows, and windows added up to stretches.

use candle_core::{Device, Result, Tensor};

/// Windows of `window` samples every `hop` in a stretch of a signal, `count` of them.
#[derive(Clone, Debug)]
pub struct Overlap {
    window: usize,
    hop: usize,
    count: usize,
    /// The place in a stretch of each sample of each window, `count · window`.
    places: Tensor,
}

impl Overlap {
    /// `count` windows, each of `window` samples, one every `hop`.
    ///
    /// # Errors
    ///
    /// Fails if a number is 0, `hop` is above `window`, or the device does.
    pub fn new(window: usize, hop: usize, count: usize, device: &Device) -> Result<Self> {
        if hop == 0 || hop > window || count == 0 {
            candle_core::bail!("{count} windows of {window} every {hop} cover no stretch");
        }
        let starts = (0..count).map(|index| index * hop);
        let places: Vec<u32> = starts
            .flat_map(|start| start..start + window)
            .map(|place| place as u32)
            .collect();
        Ok(Self {
            window,
            hop,
            count,
            places: Tensor::new(places, device)?,
        })
    }

    /// Samples of a stretch.
    pub fn length(&self) -> usize {
        (self.count - 1) * self.hop + self.window
    }

    /// The part of stretches whose samples are in as many windows as any sample is: without
    /// `window − hop` samples at either end, unless that is all.
    ///
    /// # Errors
    ///
    /// Fails if a stretch has another length.
    pub fn inner(&self, stretches: &Tensor) -> Result<Tensor> {
        let edge = self.window - self.hop;
        match self.length().checked_sub(2 * edge) {
            None | Some(0) => Ok(stretches.clone()),
            Some(length) => stretches.narrow(1, edge, length),
        }
    }

    /// The windows of stretches (`stretches × length`), `stretches · count × window`.
    ///
    /// # Errors
    ///
    /// Fails if a stretch has another length.
    pub fn windows(&self, stretches: &Tensor) -> Result<Tensor> {
        let rows = stretches.dim(0)? * self.count;
        let gathered = stretches.index_select(&self.places, 1)?;
        gathered.reshape((rows, self.window))
    }

    /// The sums over the windows that hold each sample, `stretches × length`: the transpose of
    /// [`windows`](Self::windows).
    ///
    /// # Errors
    ///
    /// Fails if the windows are not those of whole stretches.
    pub fn add(&self, windows: &Tensor) -> Result<Tensor> {
        let stretches = windows.dim(0)? / self.count;
        let flat = windows.reshape((stretches, self.count * self.window))?;
        let shape = (stretches, self.length());
        Tensor::zeros(shape, windows.dtype(), windows.device())?.index_add(&self.places, &flat, 1)
    }

    /// The sum of the `weights` (`window`) that meet in each sample of a stretch, `1 × length`.
    ///
    /// # Errors
    ///
    /// Fails if there is not a weight for each sample of a window.
    pub fn weight(&self, weights: &Tensor) -> Result<Tensor> {
        let rows = weights.reshape((1, self.window))?;
        self.add(&rows.broadcast_as((self.count, self.window))?.contiguous()?)
    }
}

/// How many windows a stretch holds, if it ends with one.
pub(super) fn windows_in(length: usize, window: usize, hop: usize) -> Option<usize> {
    let rest = length.checked_sub(window)?;
    rest.is_multiple_of(hop.max(1))
        .then_some(rest / hop.max(1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_add_up_to_their_stretch() {
        let overlap = Overlap::new(8, 3, 5, &Device::Cpu).unwrap();
        assert_eq!(overlap.length(), 20);
        let values: Vec<f32> = (0..40).map(|i| (i * i % 17) as f32).collect();
        let stretches = Tensor::from_vec(values.clone(), (2, 20), &Device::Cpu).unwrap();
        let windows = overlap.windows(&stretches).unwrap();
        assert_eq!(windows.dims(), [10, 8]);
        let second: Vec<f32> = windows.get(1).unwrap().to_vec1().unwrap();
        assert_eq!(second, values[3..11]);
        let weights = Tensor::arange(1f32, 9.0, &Device::Cpu).unwrap();
        let weighted = windows.broadcast_mul(&weights).unwrap();
        let sums = overlap.add(&weighted).unwrap();
        let mean = sums
            .broadcast_div(&overlap.weight(&weights).unwrap())
            .unwrap();
        let mean: Vec<f32> = mean.flatten_all().unwrap().to_vec1().unwrap();
        for (found, value) in mean.iter().zip(values) {
            assert!((found - value).abs() < 1e-5, "{found} {value}");
        }
    }

    #[test]
    fn gaps_and_nothing_are_refused() {
        for (window, hop, count) in [(8, 0, 3), (8, 9, 3), (8, 4, 0)] {
            assert!(Overlap::new(window, hop, count, &Device::Cpu).is_err());
        }
    }
}
