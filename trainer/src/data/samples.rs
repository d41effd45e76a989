//! Samples as a tensor.

use candle_core::{Device, Result, Tensor};

use super::{Dataset, Restore};

/// A data set as a tensor.
pub struct Samples {
    /// Preprocessed samples, `count × input_dim`.
    pub inputs: Tensor,
    /// The way back to raw units.
    pub restore: Restore,
}

impl Samples {
    /// Takes a data set.
    ///
    /// # Errors
    ///
    /// Fails if its values are not whole samples.
    pub fn new(dataset: Dataset) -> Result<Self> {
        let shape = (dataset.len(), dataset.dim);
        Ok(Self {
            inputs: Tensor::from_vec(dataset.samples, shape, &Device::Cpu)?,
            restore: dataset.restore,
        })
    }

    /// The samples at these places, `places × input_dim`.
    ///
    /// # Errors
    ///
    /// Fails if there is no sample at a place.
    pub fn rows(&self, places: &[u32]) -> Result<Tensor> {
        let selection = Tensor::new(places, self.inputs.device())?;
        self.inputs.index_select(&selection, 0)
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.inputs.dims()[0]
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
