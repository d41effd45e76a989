//! `evaluate --task denoise` of models of patches: what a model file takes off noise that is added
//! to pictures.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::Serialize;

use super::common::{print_json, print_saturated, stem, usage};
use crate::data::picture::Pixels;
use crate::data::{NumberType, images};
use crate::deploy::HostModel;
use crate::deploy::gain::{PictureGain, Settings, measure_picture};
use crate::report::table::{Table, decibels};

/// Figures of one picture; null stands for their mean.
#[derive(Serialize)]
struct Row {
    picture: Option<String>,
    #[serde(flatten)]
    gain: PictureGain,
}

/// What is measured, of the flags.
pub(super) struct Asked<'a> {
    /// Names of pictures; all if there are none.
    pub(super) names: &'a [String],
    /// Deviations of the noise, in levels of 256.
    pub(super) levels: &'a [f64],
    /// So many pixels of the middle, both ways.
    pub(super) middle: Option<usize>,
    /// Whether the noise is estimated.
    pub(super) estimate: bool,
    pub(super) seed: u64,
    /// Where pictures are written.
    pub(super) shown: Option<&'a Path>,
}

/// Measures `host` on the pictures of the folder `data`, and prints a table or JSON.
pub(super) fn run(
    host: &mut HostModel<'_>,
    name: &str,
    data: &Path,
    asked: &Asked<'_>,
    json: bool,
) -> anyhow::Result<()> {
    let wrong = |level: &&f64| !(level.is_finite() && **level > 0.0);
    if let Some(level) = asked.levels.iter().find(wrong) {
        return Err(usage(format!("--sigmas {level}: a deviation is above 0")));
    }
    let files = pictures(data, asked.names)?;
    if let Some(folder) = asked.shown {
        check_folder(folder, data, &files)?;
    }
    let mut rows = Vec::new();
    for (index, path) in files.iter().enumerate() {
        let (pixels, width) = grey(path, asked.middle)?;
        let shown = &mut Vec::new();
        for &sigma in asked.levels {
            let settings = Settings {
                snr: 0.0,
                estimate: asked.estimate,
                skip: 0,
                seed: asked.seed,
                draw: index as u32 * 1024,
            };
            let (gain, [noisy, clean]) = measure_picture(host, &pixels, width, sigma, &settings)
                .with_context(|| path.display().to_string())?;
            rows.push(Row {
                picture: Some(stem(path)),
                gain,
            });
            shown.extend([noisy, clean]);
        }
        if let Some(folder) = asked.shown {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            let file = folder.join(format!("{}.png", stem(path)));
            let all: Vec<&[f32]> = std::iter::once(&pixels)
                .chain(&*shown)
                .map(Vec::as_slice)
                .collect();
            write_side_by_side(&file, width, &all)?;
        }
    }
    for &sigma in asked.levels {
        let of_pictures = rows.iter().filter(|row: &&Row| row.picture.is_some());
        let own = of_pictures.filter(|row| row.gain.sigma == sigma);
        let gains: Vec<&PictureGain> = own.map(|row| &row.gain).collect();
        let over = |of: fn(&PictureGain) -> f64| {
            gains.iter().map(|gain| of(gain)).sum::<f64>() / gains.len().max(1) as f64
        };
        let gain = PictureGain {
            sigma,
            psnr_noisy: over(|gain| gain.psnr_noisy),
            psnr: over(|gain| gain.psnr),
            active: over(|gain| gain.active),
            saturated: over(|gain| gain.saturated),
            seconds: over(|gain| gain.seconds),
        };
        rows.push(Row {
            picture: None,
            gain,
        });
    }
    if json {
        return print_json(&rows);
    }
    let stream = host.stream().context("the model denoises")?;
    println!(
        "{name}: patches of {} every {}, {} atoms",
        host.spec().input_shape,
        stream.hop,
        host.spec().code_dim
    );
    print!("{}", table(&rows));
    print_saturated(rows.iter().map(|row| row.gain.saturated));
    Ok(())
}

/// A picture in grey, or so many pixels of its middle both ways, and the length of its lines.
fn grey(path: &Path, middle: Option<usize>) -> anyhow::Result<(Vec<f32>, usize)> {
    let picture = Pixels::read(path)?;
    let (pixels, width, height) = (picture.grey(), picture.width, picture.height);
    let Some(side) = middle else {
        return Ok((pixels, width));
    };
    if side > width.min(height) {
        return Err(usage(format!(
            "--middle {side}: {} has {width}x{height} pixels",
            path.display()
        )));
    }
    let (left, top) = ((width - side) / 2, (height - side) / 2);
    let lines = pixels.chunks_exact(width).skip(top).take(side);
    let cut = lines.flat_map(|line| &line[left..][..side]);
    Ok((cut.copied().collect(), side))
}

/// Writes pictures of lines of `width` pixels as one, 8 bits a pixel.
fn write_side_by_side(file: &Path, width: usize, pictures: &[&[f32]]) -> anyhow::Result<()> {
    let height = pictures.first().map_or(0, |pixels| pixels.len() / width);
    let lines = (0..height).flat_map(|y| pictures.iter().map(move |of| &of[y * width..][..width]));
    let both = Pixels {
        width: width * pictures.len(),
        height,
        number_type: NumberType::U8,
        channels: vec![lines.flatten().copied().collect()],
        alpha: None,
    };
    both.write(file, &both.channels)?;
    Ok(())
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new(["picture", "σ", "noisy PSNR", "PSNR", "atoms", "seconds"]);
    for Row { picture, gain } in rows {
        table.push([
            picture.clone().unwrap_or_else(|| "mean".to_owned()),
            format!("{}", gain.sigma),
            decibels(gain.psnr_noisy),
            decibels(gain.psnr),
            format!("{:.1}", gain.active),
            format!("{:.3}", gain.seconds),
        ]);
    }
    table
}

/// Refuses a folder whose files would be replaced or measured: the pictures' own, and one in which
/// two pictures have one name.
fn check_folder(folder: &Path, data: &Path, files: &[PathBuf]) -> anyhow::Result<()> {
    // One folder has many names. A folder that is not there yet holds nothing to lose.
    let place = |path: &Path| path.canonicalize().or_else(|_| std::path::absolute(path));
    let [own, outer] = [folder, data].map(place);
    let outer = match outer? {
        file if file.is_file() => file.parent().map(Path::to_path_buf).unwrap_or_default(),
        folder => folder,
    };
    if own?.starts_with(&outer) {
        return Err(usage(format!(
            "--pictures {}: it lies in --data, whose pictures stay as they are",
            folder.display()
        )));
    }
    let mut stems: Vec<String> = files.iter().map(|path| stem(path)).collect();
    stems.sort();
    match stems.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(usage(format!(
            "--pictures: two pictures are called {}; name one with --recordings",
            pair[0]
        ))),
        None => Ok(()),
    }
}

/// All pictures of a folder, or those that are named.
fn pictures(data: &Path, names: &[String]) -> anyhow::Result<Vec<PathBuf>> {
    let all = images::pictures_in(data)?;
    if all.is_empty() {
        return Err(usage(format!(
            "--data {}: there are no pictures in it",
            data.display()
        )));
    }
    if names.is_empty() {
        return Ok(all);
    }
    names
        .iter()
        .map(|name| {
            let is_named = |path: &&PathBuf| path.ends_with(name);
            all.iter().find(is_named).cloned().ok_or_else(|| {
                usage(format!(
                    "--recordings {name}: {} holds no such picture",
                    data.display()
                ))
            })
        })
        .collect()
}
