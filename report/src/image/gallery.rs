//! Atoms in rows.

use super::draw::{Area, Pen, Range};
use super::{DARK, FAINT, GAP, Picture, PictureError, WHITE, enlargement, expect, plot_width};

/// Side that tiles are enlarged to at least, in pixels of the picture.
const TILE: usize = 40;
/// Size of a line plot of an atom.
const ATOM_PLOT: (usize, usize) = (96, 48);

/// How atoms are made visible in a gallery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Scaling {
    /// Each atom by its own largest magnitude: shows shapes.
    #[default]
    Each,
    /// All by the largest magnitude of any: shows which atoms are strong.
    Joint,
}

/// Options of [`gallery`]; the default suits a few dozen to a few hundred atoms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct GalleryOptions {
    /// How magnitudes become levels.
    pub scaling: Scaling,
    /// Tiles in a row; chosen for a picture that is nearly square, without empty places if
    /// possible, if nothing is set.
    pub columns: Option<usize>,
}

/// A picture of `count` atoms, row by row from the top left.
///
/// `atoms` is row-major [`count`, `height * width`], an atom a row. Zero is mid-grey, positive is
/// light. Atoms of signals (`height` 1) are drawn as lines about a zero line instead.
///
/// # Errors
/// [`PictureError::Shape`] if `atoms` does not have `count * height * width` values,
/// [`PictureError::Empty`] without atoms, [`PictureError::TooLarge`] beyond 2²⁷ pixels.
///
/// ```
/// use sparsecode_report::image::{GalleryOptions, gallery};
///
/// let atoms = vec![0.5; 128 * 8 * 8];
/// let picture = gallery(&atoms, 128, 8, 8, &GalleryOptions::default())?;
/// assert_eq!(picture.width(), 16 * (40 + 2) + 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn gallery(
    atoms: &[f32],
    count: usize,
    height: usize,
    width: usize,
    options: &GalleryOptions,
) -> Result<Picture, PictureError> {
    if count == 0 || height == 0 || width == 0 {
        return Err(PictureError::Empty("no atoms"));
    }
    let dim = height.saturating_mul(width);
    expect("the dictionary", atoms.len(), count.saturating_mul(dim))?;
    let is_signal = height == 1;
    let scale = enlargement(TILE, height, width);
    let (tile_width, tile_height) = if is_signal {
        (plot_width(ATOM_PLOT.0, width), ATOM_PLOT.1)
    } else {
        (width * scale, height * scale)
    };
    let columns = match options.columns {
        Some(columns) => columns.clamp(1, count),
        None => balanced_columns(count, tile_width as f64 / tile_height as f64),
    };
    let (pitch_x, pitch_y) = (tile_width + GAP, tile_height + GAP);
    let mut picture = Picture::new(
        columns * pitch_x + GAP,
        count.div_ceil(columns) * pitch_y + GAP,
        if is_signal { FAINT } else { WHITE },
    )?;
    let joint = Range::symmetric(atoms);
    for (index, atom) in atoms.chunks_exact(dim).enumerate() {
        let range = match options.scaling {
            Scaling::Each => Range::symmetric(atom),
            Scaling::Joint => joint,
        };
        let area = Area {
            x: GAP + index % columns * pitch_x,
            y: GAP + index / columns * pitch_y,
            width: tile_width,
            height: tile_height,
        };
        if is_signal {
            picture.plot_frame(area, range);
            let pen = Pen {
                level: DARK,
                width: 1.3,
            };
            picture.plot(area.inset(), atom, range, pen);
        } else {
            picture.patch(area.x, area.y, atom, width, scale, range);
        }
    }
    Ok(picture)
}

/// Columns for a picture that is about square, or up to twice as wide as high if that leaves fewer
/// places empty.
fn balanced_columns(count: usize, aspect: f64) -> usize {
    let square = (count as f64 / aspect).sqrt();
    let first = (square.ceil() as usize).clamp(1, count);
    let last = ((square * 1.7) as usize).clamp(first, count);
    (first..=last)
        .min_by_key(|columns| count.div_ceil(*columns) * columns - count)
        .unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::super::ZERO_LINE;
    use super::*;

    /// The level in the middle of a gallery's tile.
    fn tile_level(picture: &Picture, column: usize, row: usize, side: usize) -> f32 {
        let at = |index: usize| GAP + index * (side + GAP) + side / 2;
        picture.level(at(column), at(row)).unwrap()
    }

    #[test]
    fn zero_is_mid_grey_and_scaling_is_by_atom_or_joint() {
        // Four atoms of one value each: 0, a weak and a strong positive one, a strong negative one.
        let values = [0.0, 0.1, 1.0, -1.0];
        let atoms: Vec<f32> = values.iter().flat_map(|&value| [value; 16]).collect();
        let levels = |scaling| {
            let options = GalleryOptions {
                scaling,
                columns: Some(2),
            };
            let picture = gallery(&atoms, 4, 4, 4, &options).unwrap();
            [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(x, y)| tile_level(&picture, x, y, 40))
        };
        assert_eq!(levels(Scaling::Each), [0.5, 1.0, 1.0, 0.0]);
        let joint = levels(Scaling::Joint);
        assert_eq!((joint[0], joint[2], joint[3]), (0.5, 1.0, 0.0));
        assert!((joint[1] - 0.55).abs() < 1e-6, "{joint:?}");
    }

    #[test]
    fn a_patch_is_enlarged_upright_with_sharp_pixels() {
        // One bright pixel, in column 2 of row 1.
        let mut atom = [0.0; 64];
        atom[8 + 2] = 1.0;
        let picture = gallery(&atom, 1, 8, 8, &GalleryOptions::default()).unwrap();
        assert_eq!(picture.width(), 40 + 2 * GAP);
        for y in 0..40 {
            for x in 0..40 {
                let expected = if x / 5 == 2 && y / 5 == 1 { 1.0 } else { 0.5 };
                assert_eq!(
                    picture.level(GAP + x, GAP + y),
                    Some(expected),
                    "at {x}, {y}"
                );
            }
        }
    }

    #[test]
    fn values_that_are_no_numbers_do_not_spoil_the_scale() {
        let mut atom = [0.25_f32; 64];
        atom[0] = f32::NAN;
        atom[1] = f32::INFINITY;
        atom[2] = -0.5;
        let picture = gallery(&atom, 1, 8, 8, &GalleryOptions::default()).unwrap();
        let level = |index: usize| picture.level(GAP + index * 5, GAP).unwrap();
        assert_eq!(
            [level(0), level(1), level(2), level(3)],
            [0.5, 1.0, 0.0, 0.75]
        );
    }

    #[test]
    fn galleries_are_compact_without_holes_where_possible() {
        for (count, columns) in [
            (128, 16),
            (100, 10),
            (64, 8),
            (72, 9),
            (1, 1),
            (2, 2),
            (256, 16),
        ] {
            assert_eq!(balanced_columns(count, 1.0), columns, "{count} atoms");
        }
        for count in 1..300 {
            let columns = balanced_columns(count, 1.0);
            assert!((1..=count).contains(&columns));
            assert!(
                columns * columns >= count,
                "{count} atoms are higher than wide"
            );
        }
    }

    /// The row of the darkest pixel in each column of the first atom's plot, 0 at its top.
    fn trace(picture: &Picture, (width, height): (usize, usize)) -> Vec<usize> {
        (4..width - 4)
            .map(|x| {
                (0..height)
                    .min_by(|&a, &b| {
                        let level = |y| picture.level(GAP + x, GAP + y).unwrap();
                        level(a).total_cmp(&level(b))
                    })
                    .unwrap()
            })
            .collect()
    }

    #[test]
    fn signals_are_drawn_as_lines_with_positive_up() {
        let ramp: Vec<f32> = (0..64).map(|i| i as f32 / 63.0 * 2.0 - 1.0).collect();
        let picture = gallery(&ramp, 1, 1, 64, &GalleryOptions::default()).unwrap();
        let size = (picture.width() - 2 * GAP, picture.height() - 2 * GAP);
        let rows = trace(&picture, size);
        assert!(rows.windows(2).all(|pair| pair[1] <= pair[0]), "{rows:?}");
        assert!(rows[0] >= size.1 - 6, "{rows:?}");
        assert!(rows[rows.len() - 1] <= 5, "{rows:?}");
        // Anti-aliased: levels between ink and paper occur along the line.
        let between = (0..size.0)
            .flat_map(|x| (0..size.1).map(move |y| (x, y)))
            .filter(|&(x, y)| {
                let level = picture.level(GAP + x, GAP + y).unwrap();
                level > DARK + 0.05 && level < ZERO_LINE - 0.1
            })
            .count();
        assert!(between > size.0 / 2, "{between}");
    }

    #[test]
    fn a_single_sample_and_a_gap_are_drawn_without_harm() {
        gallery(&[1.0], 1, 1, 1, &GalleryOptions::default()).unwrap();
        let mut signal = [0.0; 32];
        signal[16] = f32::NAN;
        signal[3] = 1.0;
        let picture = gallery(&signal, 1, 1, 32, &GalleryOptions::default()).unwrap();
        let rows = trace(&picture, ATOM_PLOT);
        assert!(rows.iter().any(|&row| row < 8) && rows.iter().any(|&row| row > 20));
    }
}
