//! Stretches in overlapping windows, tiles in overlapping patches, and both added up again.

use candle_core::{Device, Result, Tensor};
use rand::Rng;

/// Windows of `window` samples every `hop` in a stretch of a signal, `count` of them; or square
/// patches of side `window` every `hop` pixels in a square tile of a picture, `count` in a row.
#[derive(Clone, Debug)]
pub struct Overlap {
    window: usize,
    hop: usize,
    count: usize,
    /// 1 for windows of a signal, 2 for patches.
    axes: u32,
    /// The place in a stretch of each sample of each window, one window after the other.
    places: Tensor,
    /// The places in a stretch that as many windows hold as any.
    inner: Tensor,
}

impl Overlap {
    /// `count` windows, each of `window` samples, one every `hop`.
    ///
    /// # Errors
    ///
    /// Fails if a number is 0, `hop` is above `window`, or the device does.
    pub fn new(window: usize, hop: usize, count: usize, device: &Device) -> Result<Self> {
        Self::over(1, window, hop, count, device)
    }

    /// `count · count` patches of `side · side` pixels, `hop` from one to the next both ways. Tiles
    /// and patches are rows after rows.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    pub fn of_patches(side: usize, hop: usize, count: usize, device: &Device) -> Result<Self> {
        Self::over(2, side, hop, count, device)
    }

    fn over(axes: u32, window: usize, hop: usize, count: usize, device: &Device) -> Result<Self> {
        if hop == 0 || hop > window || count == 0 {
            candle_core::bail!("{count} windows of {window} every {hop} cover no stretch");
        }
        let length = (count - 1) * hop + window;
        // A signal is a picture of one row.
        let (rows, down) = match axes {
            1 => (1, 1),
            _ => (window, count),
        };
        let mut places: Vec<u32> = Vec::with_capacity(rows * window * down * count);
        for (top, left) in (0..down).flat_map(|top| (0..count).map(move |left| (top, left))) {
            for row in top * hop..top * hop + rows {
                let start = row * length + left * hop;
                places.extend((start..start + window).map(|place| place as u32));
            }
        }
        let edge = window - hop;
        let middle = match length > 2 * edge {
            true => edge..length - edge,
            false => 0..length,
        };
        let rows = match axes {
            1 => 0..1,
            _ => middle.clone(),
        };
        let inner = rows.flat_map(|row| middle.clone().map(move |x| (row * length + x) as u32));
        Ok(Self {
            window,
            hop,
            count,
            axes,
            places: Tensor::new(places, device)?,
            inner: Tensor::new(inner.collect::<Vec<_>>(), device)?,
        })
    }

    /// Samples of a stretch, or pixels of a tile.
    pub fn length(&self) -> usize {
        ((self.count - 1) * self.hop + self.window).pow(self.axes)
    }

    /// Samples of a window, or pixels of a patch.
    pub fn dim(&self) -> usize {
        self.window.pow(self.axes)
    }

    /// Whether windows are patches of a picture.
    pub fn is_of_patches(&self) -> bool {
        self.axes == 2
    }

    /// A window at a random place of a stretch, on the grid or not.
    pub(super) fn window_anywhere(&self, stretch: &[f32], rng: &mut impl Rng) -> Vec<f32> {
        let length = (self.count - 1) * self.hop + self.window;
        let mut place = || rng.random_range(0..=length - self.window);
        let (left, top, rows) = match self.axes {
            1 => (place(), 0, 1),
            _ => (place(), place(), self.window),
        };
        (top..top + rows)
            .flat_map(|row| &stretch[row * length + left..][..self.window])
            .copied()
            .collect()
    }

    /// Windows of a stretch.
    fn windows_of_one(&self) -> usize {
        self.count.pow(self.axes)
    }

    /// Numbers that weigh a window: see [`weights`](Self::weights).
    pub fn weight_count(&self) -> usize {
        self.window * self.axes as usize
    }

    /// What each sample of a window counts, `1 × dim`: `exp(u)` for a window, `exp(u_row +
    /// u_column)` for a patch, of which the first half of u is for rows.
    ///
    /// # Errors
    ///
    /// Fails if `log_weights` has not [`weight_count`](Self::weight_count) numbers.
    pub fn weights(&self, log_weights: &Tensor) -> Result<Tensor> {
        match self.axes {
            1 => log_weights.exp()?.reshape((1, self.window)),
            _ => {
                let rows = log_weights.narrow(0, 0, self.window)?.unsqueeze(1)?;
                let columns = log_weights.narrow(0, self.window, self.window)?;
                let sum = rows.broadcast_add(&columns.unsqueeze(0)?)?;
                sum.exp()?.reshape((1, self.dim()))
            }
        }
    }

    /// The gradient for the logarithms of the weights, for one of each sample's own logarithm,
    /// `1 × dim`.
    ///
    /// # Errors
    ///
    /// Fails if the shape is another.
    pub fn log_weights_gradient(&self, own: &Tensor) -> Result<Tensor> {
        match self.axes {
            1 => own.reshape(self.window),
            _ => {
                let own = own.reshape((self.window, self.window))?;
                Tensor::cat(&[own.sum(1)?, own.sum(0)?], 0)
            }
        }
    }

    /// The part of stretches whose samples are in as many windows as any sample is: without
    /// `window − hop` samples at either end, unless that is all.
    ///
    /// # Errors
    ///
    /// Fails if a stretch has another length.
    pub fn inner(&self, stretches: &Tensor) -> Result<Tensor> {
        stretches.index_select(&self.inner, 1)
    }

    /// The windows of stretches (`stretches × length`), one below the other, each of `dim` samples.
    ///
    /// # Errors
    ///
    /// Fails if a stretch has another length.
    pub fn windows(&self, stretches: &Tensor) -> Result<Tensor> {
        let rows = stretches.dim(0)? * self.windows_of_one();
        let gathered = stretches.index_select(&self.places, 1)?;
        gathered.reshape((rows, self.dim()))
    }

    /// The sums over the windows that hold each sample, `stretches × length`: the transpose of
    /// [`windows`](Self::windows).
    ///
    /// # Errors
    ///
    /// Fails if the windows are not those of whole stretches.
    pub fn add(&self, windows: &Tensor) -> Result<Tensor> {
        let count = self.windows_of_one();
        let stretches = windows.dim(0)? / count;
        let flat = windows.reshape((stretches, count * self.dim()))?;
        let shape = (stretches, self.length());
        Tensor::zeros(shape, windows.dtype(), windows.device())?.index_add(&self.places, &flat, 1)
    }

    /// The sum of the `weights` (`1 × dim`) that meet in each sample of a stretch, `1 × length`.
    ///
    /// # Errors
    ///
    /// Fails if there is not a weight for each sample of a window.
    pub fn weight(&self, weights: &Tensor) -> Result<Tensor> {
        let rows = weights.reshape((1, self.dim()))?;
        let shape = (self.windows_of_one(), self.dim());
        self.add(&rows.broadcast_as(shape)?.contiguous()?)
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
        for (found, value) in mean.iter().zip(&values) {
            assert!((found - value).abs() < 1e-5, "{found} {value}");
        }
    }

    /// Of each pixel of a tile: how many patches hold it, where they take it from, and what they
    /// give back.
    #[test]
    fn patches_add_up_to_their_tile() {
        let overlap = Overlap::of_patches(4, 2, 3, &Device::Cpu).unwrap();
        assert_eq!(
            (overlap.length(), overlap.dim(), overlap.weight_count()),
            (64, 16, 8)
        );
        let values: Vec<f32> = (0..128).map(|i| (i * i % 17) as f32).collect();
        let tiles = Tensor::from_vec(values.clone(), (2, 64), &Device::Cpu).unwrap();
        let patches = overlap.windows(&tiles).unwrap();
        assert_eq!(patches.dims(), [18, 16]);
        let sixth: Vec<f32> = patches.get(5).unwrap().to_vec1().unwrap();
        let at = |y: usize, x: usize| values[y * 8 + x];
        assert_eq!(sixth[..4], [at(2, 4), at(2, 5), at(2, 6), at(2, 7)]);
        assert_eq!(sixth[12], at(5, 4));
        let logs: Vec<f32> = (0..8).map(|i| 0.1 * i as f32).collect();
        let weights = overlap.weights(&Tensor::new(logs.clone(), &Device::Cpu).unwrap());
        let weights = weights.unwrap();
        let own: Vec<f32> = weights.flatten_all().unwrap().to_vec1().unwrap();
        assert!((own[4 + 2] - (logs[1] + logs[4 + 2]).exp()).abs() < 1e-6);
        let sums = overlap
            .add(&patches.broadcast_mul(&weights).unwrap())
            .unwrap();
        let mean = sums
            .broadcast_div(&overlap.weight(&weights).unwrap())
            .unwrap();
        let mean: Vec<f32> = mean.flatten_all().unwrap().to_vec1().unwrap();
        for (found, value) in mean.iter().zip(&values) {
            assert!((found - value).abs() < 1e-5, "{found} {value}");
        }
        let inner: Vec<f32> = overlap
            .inner(&tiles)
            .unwrap()
            .get(0)
            .unwrap()
            .to_vec1()
            .unwrap();
        assert_eq!((inner.len(), inner[0]), (16, at(2, 2)));
    }

    #[test]
    fn gaps_and_nothing_are_refused() {
        for (window, hop, count) in [(8, 0, 3), (8, 9, 3), (8, 4, 0)] {
            assert!(Overlap::new(window, hop, count, &Device::Cpu).is_err());
        }
    }
}
