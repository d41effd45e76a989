//! The same samples in several states, one below the other.

use super::draw::{ADVANCE, Area, FONT_SCALE, LINE, Pen, Range};
use super::{
    DARK, FAINT, GAP, MIDDLE, Picture, PictureError, WHITE, enlargement, expect, plot_width,
};

/// Side that tiles are enlarged to at least, in pixels of the picture.
const TILE: usize = 56;
/// Height of a plot that compares signals.
const PANEL_HEIGHT: usize = 104;

///
/// `rows` are the states: a label (a `\n` starts another line, as in `"noisy\n14.1 dB"`) and the
/// samples, each of `height * width` values and as many in every row. The first row is the
/// reference.
///
/// Images: one row of tiles a state. Black and white are the smallest and largest value of a
/// column's reference, so that a column can be compared; noise beyond is clipped.
///
/// Signals (`height` 1): a row of panels for each state from the third on (from the second if there
/// are only two), that state dark, the reference grey, and the second state, the noisy one, faint
/// behind them. A legend stands on top.
///
/// # Errors
/// [`PictureError::Shape`] if a sample has another length or a row another count,
/// [`PictureError::Empty`] without samples, [`PictureError::TooLarge`] beyond 2²⁷ pixels.
///
/// ```
/// use sparsecode_report::image::strip;
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
    let scale = enlargement(TILE, height, width);
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
    use super::super::ZERO_LINE;
    use super::*;

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
            let y = MARGIN + row * (TILE + GAP) + TILE / 2;
            picture.level(left + column * (TILE + GAP) + x, y).unwrap()
        };
        assert_eq!((level(0, 0, 5), level(0, 0, 50)), (0.0, 1.0));
        assert_eq!((level(1, 0, 5), level(1, 0, 50)), (0.0, 1.0));
        assert_eq!(level(2, 0, 5), 0.5);
        // Without contrast in the reference, the range of everything shown serves: -2 to 8.
        assert!((level(0, 1, 5) - 0.5).abs() < 1e-6);
        // Every label leaves ink to the left of its row.
        for row in 0..3 {
            let top = MARGIN + row * (TILE + GAP);
            let ink = (0..left)
                .flat_map(|x| (top..top + TILE).map(move |y| (x, y)))
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
            // From -2 to 2, and four hundredths of that more at both ends, over the height inside
            // the margins.
            let y = (2.16 - value) / 4.32 * (PANEL_HEIGHT - 11) as f32;
            let y = top + y.round() as usize;
            let levels = [y - 1, y, y + 1].map(|y| picture.level(x, y).unwrap());
            levels.into_iter().fold(1.0, f32::min)
        };
        // The result covers the reference where they agree, and leaves it to be seen where they do
        // not.
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
