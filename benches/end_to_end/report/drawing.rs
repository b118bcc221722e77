//! CPU per frame over the number of calls, a line for each server: readable on a light page and on a dark one, since
//! nothing is painted behind it and every colour is half-way.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Measured, is_ours};
use crate::rounds::in_time;

const CALLS: [u32; 4] = [100, 500, 1_000, 2_000];

const INK: RGBColor = RGBColor(0x80, 0x88, 0x90);
const OURS_INK: [RGBColor; 2] = [RGBColor(0xd7, 0x5f, 0x1e), RGBColor(0xe0, 0x9a, 0x4c)];
const OTHERS_INK: [RGBColor; 7] = [
    RGBColor(0x3f, 0x8f, 0xd2),
    RGBColor(0x2f, 0x9e, 0x8f),
    RGBColor(0x6f, 0x7f, 0xdd),
    RGBColor(0xa8, 0x6c, 0xc4),
    RGBColor(0x4d, 0x9a, 0x4d),
    RGBColor(0xc0, 0x5c, 0x7e),
    RGBColor(0x9a, 0x86, 0x4a),
];

pub(super) fn draw(measured: &Measured, path: &Path) -> Result<()> {
    let curves: Vec<(&str, Vec<(u32, f64)>)> = measured
        .servers
        .iter()
        .map(|server| {
            let at = |calls: &u32| {
                let workload = format!("paced-{calls}");
                let mut runs = measured.results.runs.iter();
                // A point that bunches have made cheap would bend the curve.
                let true_to_life = runs
                    .all(|run| run.server != *server || run.workload != workload || in_time(run));
                let us = measured.results.of(server, &workload, "ingest_us").median();
                true_to_life.then_some((*calls, us?))
            };
            (*server, CALLS.iter().filter_map(at).collect())
        })
        .collect();
    let values = curves
        .iter()
        .flat_map(|(_, curve)| curve.iter().map(|(_, us)| *us));
    let (least, most) = values.fold((f64::MAX, 0.0_f64), |(least, most), us| {
        (least.min(us), most.max(us))
    });
    if most == 0.0 {
        // No paced load was among what was asked for.
        return Ok(());
    }
    let area = SVGBackend::new(path, (860, 460)).into_drawing_area();
    // The errors of the library cannot be sent between threads, as an error of ours must be.
    paint(&area, &curves, (least * 0.8).max(0.1), most * 1.25)
        .map_err(|error| anyhow!("the drawing: {error}"))
}

fn paint(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    curves: &[(&str, Vec<(u32, f64)>)],
    least: f64,
    most: f64,
) -> Result<(), Box<dyn std::error::Error>> {
    let ink = |size: u32| ("sans-serif", size).into_font().color(&INK);
    let (plot, names) = area.split_horizontally(660);
    let mut chart = ChartBuilder::on(&plot)
        .caption("CPU of the server per frame of 20 ms, µs", ink(17))
        .margin(12)
        .x_label_area_size(42)
        .y_label_area_size(48)
        .build_cartesian_2d((90_u32..2_200).log_scale(), (least..most).log_scale())?;
    chart
        .configure_mesh()
        .axis_style(INK)
        .bold_line_style(INK.mix(0.3))
        .light_line_style(INK.mix(0.1))
        .label_style(ink(13))
        .x_desc("calls at the same time")
        .x_labels(6)
        .y_label_formatter(&|us| super::number(*us))
        .draw()?;
    let (mut ours, mut others) = (OURS_INK.iter(), OTHERS_INK.iter());
    for (row, (server, curve)) in (0..).zip(curves) {
        let is_ours = is_ours(server);
        let colour = *if is_ours { ours.next() } else { others.next() }.unwrap_or(&INK);
        let line = colour.stroke_width(if is_ours { 3 } else { 2 });
        chart.draw_series(LineSeries::new(curve.iter().copied(), line))?;
        chart.draw_series(
            curve
                .iter()
                .map(|point| Circle::new(*point, 3, colour.filled())),
        )?;
        let y = 60 + row * 24;
        names.draw(&PathElement::new(vec![(8, y), (32, y)], line))?;
        names.draw(&Text::new((*server).to_owned(), (40, y - 7), ink(14)))?;
    }
    area.present()?;
    Ok(())
}
