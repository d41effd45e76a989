//! Grey pictures of atoms and of what denoising does, as 8-bit PNG.
//!
//! Values are levels from 0 (black) to 1 (white). Small patches are enlarged by whole numbers, so that a pixel of the
//! patch stays a sharp square in the picture.

use std::path::Path;

use ::image::codecs::png::{CompressionType, FilterType, PngEncoder};
use ::image::{ExtendedColorType, ImageEncoder};

use super::font;
use crate::storage::{StorageError, write_atomic};

const WHITE: f32 = 1.0;
const ZERO_LINE: f32 = 0.82;
const FAINT: f32 = 0.72;
const MIDDLE: f32 = 0.45;
const DARK: f32 = 0.05;

/// Sides that tiles of a gallery and of a strip are enlarged to at least, in pixels of the picture.
const GALLERY_TILE: usize = 40;
const STRIP_TILE: usize = 56;
/// Size of a line plot of an atom.
const ATOM_PLOT: (usize, usize) = (96, 48);
/// Height of a plot that compares signals.
const PANEL_HEIGHT: usize = 104;
/// Space between tiles.
const GAP: usize = 2;
/// Pixels per dot of the font.
const FONT_SCALE: usize = 2;

/// Larger pictures are refused: a wrong shape would otherwise fill the memory.
const MAX_PIXELS: usize = 1 << 27;

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The values do not fill the shape.
    #[error("{what} has {found} values where its shape wants {expected}")]
    Shape {
        /// What was to be drawn.
        what: String,
        /// Values handed over.
        found: usize,
        /// Values wanted.
        expected: usize,
    },
    /// There is nothing to draw.
    #[error("nothing to draw: {0}")]
    Empty(&'static str),
    /// The picture would be too large.
    #[error("a picture of {width} x {height} pixels is too large; draw fewer or smaller tiles")]
    TooLarge {
        /// Width in pixels.
        width: usize,
        /// Height in pixels.
        height: usize,
    },
    /// The PNG encoder failed.
    #[error("cannot encode the picture as PNG: {0}")]
    Encode(#[from] ::image::ImageError),
    /// The file could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A grey canvas of levels from 0 (black) to 1 (white), row by row from the top left.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    width: usize,
    height: usize,
    levels: Vec<f32>,
}

impl Picture {
    /// A canvas of one level.
    ///
    /// # Errors
    /// [`PictureError::Empty`] for a side of 0, [`PictureError::TooLarge`] beyond 2²⁷ pixels.
    pub fn new(width: usize, height: usize, level: f32) -> Result<Self, PictureError> {
        if width == 0 || height == 0 {
            return Err(PictureError::Empty("a side of the picture is 0"));
        }
        match width.checked_mul(height) {
            Some(pixels) if pixels <= MAX_PIXELS => Ok(Self {
                width,
                height,
                levels: vec![level; pixels],
            }),
            _ => Err(PictureError::TooLarge { width, height }),
        }
    }

    /// A picture of given levels, `height * width` of them, row by row.
    ///
    /// # Errors
    /// [`PictureError::Shape`] if there are more or fewer, otherwise as [`Picture::new`].
    pub fn from_levels(width: usize, height: usize, levels: &[f32]) -> Result<Self, PictureError> {
        let mut picture = Self::new(width, height, 0.0)?;
        expect("the picture", levels.len(), picture.levels.len())?;
        picture.levels.copy_from_slice(levels);
        Ok(picture)
    }

    /// Width in pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// The level of a pixel; nothing outside.
    pub fn level(&self, x: usize, y: usize) -> Option<f32> {
        (x < self.width && y < self.height).then(|| self.levels[y * self.width + x])
    }

    /// The picture as an 8-bit grey PNG. Levels outside 0..=1 are clipped, NaN is black.
    ///
    /// # Errors
    /// [`PictureError::Encode`] if the encoder fails.
    pub fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        let pixels: Vec<u8> = self.levels.iter().map(|&level| quantise(level)).collect();
        let mut png = Vec::new();
        PngEncoder::new_with_quality(&mut png, CompressionType::Best, FilterType::Adaptive)
            .write_image(
                &pixels,
                self.width as u32,
                self.height as u32,
                ExtendedColorType::L8,
            )?;
        Ok(png)
    }

    /// Writes the picture as PNG to `path`, by way of a temporary file.
    ///
    /// # Errors
    /// [`PictureError::Encode`] or [`PictureError::Storage`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), PictureError> {
        Ok(write_atomic(path, &self.to_png()?)?)
    }

    /// Draws over a pixel: `coverage` 1 replaces it, 0 leaves it. Outside of the canvas nothing happens.
    fn blend(&mut self, x: usize, y: usize, level: f32, coverage: f32) {
        if x < self.width && y < self.height {
            let pixel = &mut self.levels[y * self.width + x];
            *pixel = level * coverage + *pixel * (1.0 - coverage);
        }
    }

    fn rectangle(&mut self, area: Area, level: f32) {
        for y in area.y..area.y + area.height {
            for x in area.x..area.x + area.width {
                self.blend(x, y, level, 1.0);
            }
        }
    }

    /// Draws a patch, a square of `scale` pixels for each of its values.
    fn patch(
        &mut self,
        x: usize,
        y: usize,
        patch: &[f32],
        width: usize,
        scale: usize,
        range: Range,
    ) {
        for (index, &value) in patch.iter().enumerate() {
            let area = Area {
                x: x + index % width * scale,
                y: y + index / width * scale,
                width: scale,
                height: scale,
            };
            self.rectangle(area, range.level(value));
        }
    }

    /// Draws samples as a line from the left to the right edge of `area`, anti-aliased; the range's ends lie on its
    /// lower and upper edge. Gaps where samples are not finite.
    fn plot(&mut self, area: Area, samples: &[f32], range: Range, pen: Pen) {
        let step = (area.width - 1) as f32 / (samples.len().max(2) - 1) as f32;
        let point = |index: usize| {
            let level = range.level(samples[index]);
            (
                index as f32 * step,
                (1.0 - level) * (area.height - 1) as f32,
            )
        };
        // The greatest coverage by any segment: where two meet, ink is not laid on twice.
        let mut coverage = vec![0.0_f32; area.width * area.height];
        let reach = pen.width / 2.0 + 0.5;
        for index in 0..samples.len() {
            let from = point(index);
            let next = (index + 1).min(samples.len() - 1);
            let to = point(next);
            if !(samples[index].is_finite() && samples[next].is_finite()) {
                continue;
            }
            let span = |a: f32, b: f32, limit: usize| {
                let low = (a.min(b) - reach).floor().max(0.0) as usize;
                let high = (a.max(b) + reach).ceil().max(0.0) as usize;
                low..(high + 1).min(limit)
            };
            for y in span(from.1, to.1, area.height) {
                for x in span(from.0, to.0, area.width) {
                    let distance = distance_to_segment((x as f32, y as f32), from, to);
                    let covered = (reach - distance).clamp(0.0, 1.0);
                    let pixel = &mut coverage[y * area.width + x];
                    *pixel = pixel.max(covered);
                }
            }
        }
        for (index, covered) in coverage.into_iter().enumerate() {
            let (x, y) = (index % area.width, index / area.width);
            self.blend(area.x + x, area.y + y, pen.level, covered);
        }
    }

    /// Draws an empty plot: white, with a line where zero is.
    fn plot_frame(&mut self, area: Area, range: Range) {
        self.rectangle(area, WHITE);
        if range.low <= 0.0 && range.high >= 0.0 {
            let inner = area.inset();
            let pen = Pen {
                level: ZERO_LINE,
                width: 1.0,
            };
            self.plot(inner, &[0.0, 0.0], range, pen);
        }
    }

    /// Draws a line of text with its top left at (`x`, `y`).
    fn text(&mut self, x: usize, y: usize, text: &str) {
        for (index, character) in text.chars().enumerate() {
            let left = x + index * ADVANCE;
            for row in 0..font::HEIGHT {
                for column in (0..font::WIDTH).filter(|&c| font::dot(character, c, row)) {
                    let dot = Area {
                        x: left + column * FONT_SCALE,
                        y: y + row * FONT_SCALE,
                        width: FONT_SCALE,
                        height: FONT_SCALE,
                    };
                    self.rectangle(dot, DARK);
                }
            }
        }
    }
}

const ADVANCE: usize = (font::WIDTH + 1) * FONT_SCALE;
const LINE: usize = (font::HEIGHT + 1) * FONT_SCALE;

fn quantise(level: f32) -> u8 {
    // The cast takes NaN to 0.
    (level.clamp(0.0, 1.0) * 255.0).round() as u8
}

#[derive(Clone, Copy)]
struct Area {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
}

impl Area {
    /// The part of a plot that lines are drawn in, so that their thickness stays within.
    fn inset(self) -> Self {
        const MARGIN: usize = 4;
        Self {
            x: self.x + MARGIN,
            y: self.y + MARGIN,
            width: self.width - 2 * MARGIN,
            height: self.height - 2 * MARGIN,
        }
    }
}

#[derive(Clone, Copy)]
struct Pen {
    level: f32,
    width: f32,
}

/// Which values are black and white, or bottom and top of a plot.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Range {
    low: f32,
    high: f32,
}

impl Range {
    /// The range of the finite ones among `values`; nothing if they are all alike.
    fn of<'a>(values: impl IntoIterator<Item = &'a f32>) -> Option<Self> {
        let mut range = Self {
            low: f32::INFINITY,
            high: f32::NEG_INFINITY,
        };
        for &value in values {
            if value.is_finite() {
                range.low = range.low.min(value);
                range.high = range.high.max(value);
            }
        }
        (range.low < range.high).then_some(range)
    }

    /// ±the largest magnitude; ±1 if all values are zero.
    fn symmetric<'a>(values: impl IntoIterator<Item = &'a f32>) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let limit = finite.fold(0.0_f32, |limit, value| limit.max(value.abs()));
        let limit = if limit > 0.0 { limit } else { 1.0 };
        Self {
            low: -limit,
            high: limit,
        }
    }

    /// Wider by a part of its span at both ends.
    fn widened(self, part: f32) -> Self {
        let margin = (self.high - self.low) * part;
        Self {
            low: self.low - margin,
            high: self.high + margin,
        }
    }

    /// 0..=1 within the range, clipped outside; what is not a number lies in the middle.
    fn level(self, value: f32) -> f32 {
        // Halved, so that the span of a range of huge values stays finite.
        let level = (value / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0);
        if level.is_nan() {
            0.5
        } else {
            level.clamp(0.0, 1.0)
        }
    }
}

fn distance_to_segment(point: (f32, f32), from: (f32, f32), to: (f32, f32)) -> f32 {
    let along = (to.0 - from.0, to.1 - from.1);
    let offset = (point.0 - from.0, point.1 - from.1);
    let length_squared = along.0 * along.0 + along.1 * along.1;
    let position = if length_squared > 0.0 {
        ((offset.0 * along.0 + offset.1 * along.1) / length_squared).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (offset.0 - position * along.0).hypot(offset.1 - position * along.1)
}

fn expect(what: &str, found: usize, expected: usize) -> Result<(), PictureError> {
    if found == expected {
        return Ok(());
    }
    Err(PictureError::Shape {
        what: what.to_owned(),
        found,
        expected,
    })
}

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
    /// Tiles in a row; chosen for a picture that is nearly square, without empty places if possible, if nothing is set.
    pub columns: Option<usize>,
}

/// A picture of `count` atoms, row by row from the top left.
///
/// `atoms` is row-major [`count`, `height * width`], an atom a row. Zero is mid-grey, positive is light. Atoms of signals
/// (`height` 1) are drawn as lines about a zero line instead.
///
/// # Errors
/// [`PictureError::Shape`] if `atoms` does not have `count * height * width` values, [`PictureError::Empty`] without
/// atoms, [`PictureError::TooLarge`] beyond 2²⁷ pixels.
///
/// ```
/// use sparsecode_trainer::report::image::{GalleryOptions, gallery};
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
    let scale = enlargement(GALLERY_TILE, height, width);
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

/// By how much a patch is enlarged for its shorter side to fill a tile.
fn enlargement(tile: usize, height: usize, width: usize) -> usize {
    tile.div_ceil(height.min(width).max(1))
}

/// Wide enough for every sample to be seen, within reason.
fn plot_width(least: usize, samples: usize) -> usize {
    (2 * samples).clamp(least, 4 * least)
}

/// Columns for a picture that is about square, or up to twice as wide as high if that leaves fewer places empty.
fn balanced_columns(count: usize, aspect: f64) -> usize {
    let square = (count as f64 / aspect).sqrt();
    let first = (square.ceil() as usize).clamp(1, count);
    let last = ((square * 1.7) as usize).clamp(first, count);
    (first..=last)
        .min_by_key(|columns| count.div_ceil(*columns) * columns - count)
        .unwrap_or(first)
}

/// A picture that compares the same samples in several states, for example clean, noisy and denoised.
///
/// `rows` are the states: a label (a `\n` starts another line, as in `"noisy\n14.1 dB"`) and the samples, each of
/// `height * width` values and as many in every row. The first row is the reference.
///
/// Images: one row of tiles a state. Black and white are the smallest and largest value of a column's reference, so that
/// a column can be compared; noise beyond is clipped.
///
/// Signals (`height` 1): a row of panels for each state from the third on (from the second if there are only two), that
/// state dark, the reference grey, and the second state, the noisy one, faint behind them. A legend stands on top.
///
/// # Errors
/// [`PictureError::Shape`] if a sample has another length or a row another count, [`PictureError::Empty`] without
/// samples, [`PictureError::TooLarge`] beyond 2²⁷ pixels.
///
/// ```
/// use sparsecode_trainer::report::image::strip;
///
/// let (clean, noisy) = ([0.5; 64], [0.7; 64]);
/// let picture = strip(&[("clean", vec![&clean[..]]), ("noisy", vec![&noisy[..]])], 8, 8)?;
/// assert!(picture.height() >= 2 * 56);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn strip(
    rows: &[(&str, Vec<&[f32]>)],
    height: usize,
    width: usize,
) -> Result<Picture, PictureError> {
    let count = rows.first().map_or(0, |(_, samples)| samples.len());
    if count == 0 || height == 0 || width == 0 {
        return Err(PictureError::Empty("no samples"));
    }
    for (label, samples) in rows {
        expect(&format!("row {label:?}"), samples.len(), count)?;
        for sample in samples {
            let what = format!("a sample of row {label:?}");
            expect(&what, sample.len(), height.saturating_mul(width))?;
        }
    }
    if height == 1 {
        signal_strip(rows, count, width)
    } else {
        image_strip(rows, count, height, width)
    }
}

/// Space to the right of labels and around the whole.
const MARGIN: usize = 8;

fn label_width<'a>(labels: impl Iterator<Item = &'a str>) -> usize {
    let longest = labels.flat_map(str::lines).map(|line| line.chars().count());
    longest.max().unwrap_or(0) * ADVANCE + 2 * MARGIN
}

/// Draws a label, its lines centred between `top` and `top + height`.
fn draw_label(picture: &mut Picture, label: &str, top: usize, height: usize) {
    let lines = label.lines().count();
    let first = top + height.saturating_sub(lines * LINE) / 2;
    for (index, line) in label.lines().enumerate() {
        picture.text(MARGIN, first + index * LINE, line);
    }
}

fn image_strip(
    rows: &[(&str, Vec<&[f32]>)],
    count: usize,
    height: usize,
    width: usize,
) -> Result<Picture, PictureError> {
    let scale = enlargement(STRIP_TILE, height, width);
    let label_lines = rows.iter().map(|(label, _)| label.lines().count());
    let row_height = (height * scale).max(label_lines.max().unwrap_or(0) * LINE);
    let left = label_width(rows.iter().map(|(label, _)| *label));
    let (pitch_x, pitch_y) = (width * scale + GAP, row_height + GAP);
    let mut picture = Picture::new(
        left + count * pitch_x - GAP + MARGIN,
        rows.len() * pitch_y - GAP + 2 * MARGIN,
        WHITE,
    )?;
    let everything = Range::of(
        rows.iter()
            .flat_map(|(_, samples)| samples.iter().copied().flatten()),
    );
    let reference = &rows[0].1;
    for (row, (label, samples)) in rows.iter().enumerate() {
        let y = MARGIN + row * pitch_y;
        draw_label(&mut picture, label, y, row_height);
        for (column, sample) in samples.iter().enumerate() {
            let range = Range::of(reference[column])
                .or(everything)
                .unwrap_or_else(|| Range::symmetric(reference[column]));
            picture.patch(left + column * pitch_x, y, sample, width, scale, range);
        }
    }
    Ok(picture)
}

fn signal_strip(
    rows: &[(&str, Vec<&[f32]>)],
    count: usize,
    samples: usize,
) -> Result<Picture, PictureError> {
    let states = rows.len();
    let reference = Pen {
        level: MIDDLE,
        width: 1.0,
    };
    let noisy = Pen {
        level: FAINT,
        width: 1.0,
    };
    let result = Pen {
        level: DARK,
        width: 1.6,
    };
    let first_result = states.saturating_sub(1).min(2);
    let panels = &rows[first_result..];

    // The legend names what lies behind the results; the results are named beside their panels.
    let mut legend = vec![];
    if first_result > 0 {
        legend.push((one_line(rows[0].0), reference));
    }
    if first_result > 1 {
        legend.push((one_line(rows[1].0), noisy));
    }
    const KEY: usize = 36;
    let legend_width: usize = legend
        .iter()
        .map(|(label, _)| KEY + label.chars().count() * ADVANCE + 3 * MARGIN)
        .sum();
    let top = if legend.is_empty() {
        MARGIN
    } else {
        MARGIN + LINE + GAP
    };

    let left = label_width(panels.iter().map(|(label, _)| *label));
    let panel_width = plot_width(160, samples);
    let (pitch_x, pitch_y) = (panel_width + MARGIN, PANEL_HEIGHT + MARGIN);
    let mut picture = Picture::new(
        left + (count * pitch_x).max(legend_width),
        top + panels.len() * pitch_y,
        WHITE,
    )?;
    let mut x = left;
    for (label, pen) in &legend {
        let key = Area {
            x,
            y: MARGIN,
            width: KEY,
            height: 7 * FONT_SCALE,
        };
        let flat = Range {
            low: -1.0,
            high: 1.0,
        };
        let thick = Pen {
            width: pen.width + 1.0,
            ..*pen
        };
        picture.plot(key, &[0.0, 0.0], flat, thick);
        picture.text(x + KEY + MARGIN, MARGIN, label);
        x += KEY + label.chars().count() * ADVANCE + 3 * MARGIN;
    }
    for (row, (label, results)) in panels.iter().enumerate() {
        let y = top + row * pitch_y;
        draw_label(&mut picture, label, y, PANEL_HEIGHT);
        for (column, samples) in results.iter().enumerate() {
            let area = Area {
                x: left + column * pitch_x,
                y,
                width: panel_width,
                height: PANEL_HEIGHT,
            };
            // The same for all panels of a column.
            let range = Range::of(rows.iter().flat_map(|(_, row)| row[column])).map_or_else(
                || Range::symmetric(rows[0].1[column]),
                |range| range.widened(0.04),
            );
            picture.rectangle(area, FAINT);
            let inside = Area {
                x: area.x + 1,
                y: area.y + 1,
                width: area.width - 2,
                height: area.height - 2,
            };
            picture.plot_frame(inside, range);
            if first_result > 1 {
                picture.plot(inside.inset(), rows[1].1[column], range, noisy);
            }
            if first_result > 0 {
                picture.plot(inside.inset(), rows[0].1[column], range, reference);
            }
            picture.plot(inside.inset(), samples, range, result);
        }
    }
    Ok(picture)
}

fn one_line(label: &str) -> String {
    label.lines().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decode(png: &[u8]) -> ::image::GrayImage {
        match ::image::load_from_memory(png).unwrap() {
            ::image::DynamicImage::ImageLuma8(image) => image,
            other => panic!("{:?} is not 8-bit grey", other.color()),
        }
    }

    /// The level in the middle of a gallery's tile.
    fn tile_level(picture: &Picture, column: usize, row: usize, side: usize) -> f32 {
        let at = |index: usize| GAP + index * (side + GAP) + side / 2;
        picture.level(at(column), at(row)).unwrap()
    }

    #[test]
    fn png_has_the_levels_and_is_replaced_as_a_whole() {
        let picture = Picture::from_levels(3, 2, &[0.0, 0.5, 1.0, -3.0, f32::NAN, 7.0]).unwrap();
        let image = decode(&picture.to_png().unwrap());
        assert_eq!((image.width(), image.height()), (3, 2));
        assert_eq!(image.into_raw(), [0, 128, 255, 0, 0, 255]);

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pictures/atoms.png");
        picture.save(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), picture.to_png().unwrap());
    }

    #[test]
    fn shapes_are_checked() {
        let options = GalleryOptions::default();
        let message = gallery(&[0.0; 63], 1, 8, 8, &options)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("63") && message.contains("64"),
            "{message}"
        );
        assert!(matches!(
            gallery(&[], 0, 8, 8, &options),
            Err(PictureError::Empty(_))
        ));
        assert!(matches!(strip(&[], 8, 8), Err(PictureError::Empty(_))));
        assert!(matches!(
            Picture::new(1 << 20, 1 << 20, 0.0),
            Err(PictureError::TooLarge { .. })
        ));
        let (long, short) = ([0.0; 64], [0.0; 63]);
        let message = strip(
            &[("clean", vec![&long[..]]), ("noisy", vec![&short[..]])],
            8,
            8,
        )
        .unwrap_err()
        .to_string();
        assert!(message.contains("noisy"), "{message}");
        assert!(strip(&[("clean", vec![&long[..]]), ("noisy", vec![])], 8, 8).is_err());
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

    #[test]
    fn a_strip_has_labels_and_the_contrast_of_the_reference() {
        let clean: Vec<f32> = (0..64).map(|i| if i % 8 < 4 { 2.0 } else { 4.0 }).collect();
        let noisy: Vec<f32> = clean.iter().map(|v| (v - 3.0) * 5.0 + 3.0).collect();
        let flat = [3.0; 64];
        let rows = [
            ("clean", vec![&clean[..], &flat[..]]),
            ("noisy\n14 dB", vec![&noisy[..], &flat[..]]),
            ("half", vec![&flat[..], &flat[..]]),
        ];
        let picture = strip(&rows, 8, 8).unwrap();
        let left = "noisy".len() * ADVANCE + 2 * MARGIN;
        let level = |row: usize, column: usize, x: usize| {
            let y = MARGIN + row * (STRIP_TILE + GAP) + STRIP_TILE / 2;
            picture
                .level(left + column * (STRIP_TILE + GAP) + x, y)
                .unwrap()
        };
        assert_eq!((level(0, 0, 5), level(0, 0, 50)), (0.0, 1.0));
        assert_eq!((level(1, 0, 5), level(1, 0, 50)), (0.0, 1.0));
        assert_eq!(level(2, 0, 5), 0.5);
        // Without contrast in the reference, the range of everything shown serves: -2 to 8.
        assert!((level(0, 1, 5) - 0.5).abs() < 1e-6);
        // Every label leaves ink to the left of its row.
        for row in 0..3 {
            let top = MARGIN + row * (STRIP_TILE + GAP);
            let ink = (0..left)
                .flat_map(|x| (top..top + STRIP_TILE).map(move |y| (x, y)))
                .filter(|&(x, y)| picture.level(x, y) == Some(DARK))
                .count();
            assert!(ink > 100, "row {row}: {ink}");
        }
    }

    #[test]
    fn a_signal_strip_overlays_reference_noise_and_result() {
        let clean = [1.0; 64];
        let mut noisy = [-2.0; 64];
        noisy[63] = 2.0;
        let result = [-1.0; 64];
        let rows = [
            ("clean", vec![&clean[..]]),
            ("noisy", vec![&noisy[..]]),
            ("encoder", vec![&clean[..]]),
            ("refined", vec![&result[..]]),
        ];
        let picture = strip(&rows, 1, 64).unwrap();
        // The darkest level within a pixel of where `value` is drawn, in the middle of a panel.
        let level = |panel: usize, value: f32| {
            let top = MARGIN + LINE + GAP + panel * (PANEL_HEIGHT + MARGIN) + 5;
            let x = "refined".len() * ADVANCE + 2 * MARGIN + 80;
            // From -2 to 2, and four hundredths of that more at both ends, over the height inside the margins.
            let y = (2.16 - value) / 4.32 * (PANEL_HEIGHT - 11) as f32;
            let y = top + y.round() as usize;
            let levels = [y - 1, y, y + 1].map(|y| picture.level(x, y).unwrap());
            levels.into_iter().fold(1.0, f32::min)
        };
        // The result covers the reference where they agree, and leaves it to be seen where they do not.
        assert!(level(0, 1.0) < 0.1, "{}", level(0, 1.0));
        assert!((level(1, 1.0) - MIDDLE).abs() < 0.1, "{}", level(1, 1.0));
        assert!(level(1, -1.0) < 0.1, "{}", level(1, -1.0));
        assert_eq!(level(0, -1.0), WHITE);
        for panel in 0..2 {
            assert!((level(panel, -2.0) - FAINT).abs() < 0.2);
            assert!((level(panel, 0.0) - ZERO_LINE).abs() < 0.1);
        }
        // Two states: the second is the result, over the first.
        assert!(strip(&rows[..2], 1, 64).unwrap().height() < picture.height());
        assert!(strip(&rows[..1], 1, 64).is_ok());
    }
}
