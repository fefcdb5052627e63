//! Plots as SVG: bars with their ranges, and quantiles as lines. Pure.

use std::fmt::Write;

use crate::report::{milliseconds, of_role};
use crate::result::{Bench, Regime, Role, Throughput};
use crate::stats::Spread;
use crate::table::rate;

const WIDTH: f64 = 720.0;
/// Where bars begin; names stand to the left.
const LEFT: f64 = 210.0;
/// Where they end at most; figures stand to the right.
const RIGHT: f64 = 600.0;
const ROW: f64 = 26.0;
const TOP: f64 = 44.0;

const COLOURS: [&str; 6] = ["#1b6ca8", "#c05621", "#2f855a", "#805ad5", "#b83280", "#4a5568"];

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    pub name: String,
    pub spread: Spread,
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn frame(title: &str, height: f64, inside: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" \
         font-size=\"13\" role=\"img\">\n<title>{title}</title>\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n\
         <text x=\"12\" y=\"24\" font-size=\"15\" font-weight=\"bold\">{title}</text>\n{inside}</svg>\n",
        title = escaped(title)
    )
}

/// Horizontal bars from 0, each with a line from its least to its largest value. Ours is the first.
pub fn bars(title: &str, bars: &[Bar], show: impl Fn(f64) -> String) -> String {
    let most = bars.iter().map(|bar| bar.spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| LEFT + (RIGHT - LEFT) * value / most;
    let mut inside = String::new();
    for (at, bar) in bars.iter().enumerate() {
        let y = TOP + at as f64 * ROW;
        let (middle, text) = (y + 9.0, y + 14.0);
        let Spread { median, min, max } = bar.spread;
        let colour = if bar.name == "ours" { COLOURS[0] } else { "#a0aec0" };
        // Writing to a string cannot fail.
        let _ = writeln!(
            inside,
            "<text x=\"{:.1}\" y=\"{text:.1}\" text-anchor=\"end\">{}</text>\n<rect x=\"{LEFT}\" y=\"{y:.1}\" \
             width=\"{:.1}\" height=\"18\" fill=\"{colour}\"/>\n<path d=\"M{:.1} {middle:.1}H{:.1}\" stroke=\"#1a202c\" \
             stroke-width=\"1.5\"/>\n<text x=\"{:.1}\" y=\"{text:.1}\">{}</text>",
            LEFT - 8.0,
            escaped(&bar.name),
            x(median) - LEFT,
            x(min),
            x(max),
            x(max) + 8.0,
            escaped(&show(median)),
        );
    }
    frame(title, TOP + bars.len() as f64 * ROW + 8.0, &inside)
}

/// A line: a name and its points, each a label of the axis and a value.
#[derive(Clone, Debug)]
pub struct Line {
    pub name: String,
    pub points: Vec<(usize, f64)>,
}

/// Lines over labelled places, with a logarithmic axis of values.
pub fn lines(title: &str, places: &[&str], unit: &str, lines: &[Line]) -> String {
    const BOTTOM: f64 = 300.0;
    let values = || lines.iter().flat_map(|line| line.points.iter().map(|(_, value)| value.max(1e-3)));
    let least = values().fold(f64::INFINITY, f64::min).log10().floor();
    let most = values().fold(0.0, f64::max).log10().ceil().max(least + 1.0);
    let (left, right) = (70.0, 500.0);
    let x = |place: usize| left + (right - left) * place as f64 / (places.len().max(2) - 1) as f64;
    let y = |value: f64| BOTTOM - (BOTTOM - TOP) * (value.max(1e-3).log10() - least) / (most - least);
    let mut inside = String::new();
    let mut power = least;
    while power <= most {
        let (at, value) = (y(10_f64.powf(power)), 10_f64.powf(power));
        let _ = writeln!(
            inside,
            "<path d=\"M{left} {at:.1}H{right}\" stroke=\"#e2e8f0\"/>\n<text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{value} {unit}</text>",
            left - 6.0,
            at + 4.0
        );
        power += 1.0;
    }
    for (at, place) in places.iter().enumerate() {
        let _ = writeln!(inside, "<text x=\"{:.1}\" y=\"320\" text-anchor=\"middle\">{}</text>", x(at), escaped(place));
    }
    for (at, line) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let points: Vec<String> =
            line.points.iter().map(|(place, value)| format!("{:.1},{:.1}", x(*place), y(*value))).collect();
        let legend = TOP + at as f64 * 20.0;
        let _ = writeln!(
            inside,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\n<path d=\"M515 {:.1}h16\" \
             stroke=\"{colour}\" stroke-width=\"3\"/>\n<text x=\"536\" y=\"{legend:.1}\" font-size=\"12\">{}</text>",
            points.join(" "),
            legend - 4.0,
            escaped(&line.name)
        );
    }
    frame(title, 336.0, &inside)
}

type Figure = (&'static str, &'static str, fn(&Throughput) -> Option<Spread>, fn(f64) -> String);

const FIGURES: [Figure; 3] = [
    ("rate", "messages per second", Throughput::rate, rate),
    ("cpu", "CPU seconds per million messages", Throughput::cpu_per_million, |value| format!("{value:.2}")),
    ("memory", "peak memory in MiB", Throughput::peak_mib, |value| format!("{value:.0}")),
];

fn latency(regime: &Regime) -> Option<String> {
    let places = ["p50", "p90", "p99", "p99.9", "max"];
    let of = |latency: &crate::result::Latency| {
        let all = [
            milliseconds(latency, |round| Some(round.p50_us)),
            milliseconds(latency, |round| round.p90_us),
            milliseconds(latency, |round| Some(round.p99_us)),
            milliseconds(latency, |round| Some(round.p999_us)),
            milliseconds(latency, |round| round.max_us),
        ];
        let points =
            all.iter().enumerate().filter_map(|(place, spread)| Some((place, spread.as_ref()?.median))).collect();
        Line { name: latency.name.clone(), points }
    };
    let all: Vec<Line> = regime.latency.iter().filter(|latency| !latency.rounds.is_empty()).map(of).collect();
    (!all.is_empty()).then(|| lines(&format!("{}: latency", regime.name.name()), &places, "ms", &all))
}

/// All plots of a result by their file names. Results that are void are left out.
pub fn all(bench: &Bench) -> Vec<(String, String)> {
    let mut plots = Vec::new();
    for regime in &bench.regimes {
        for role in [Role::Producer, Role::Consumer] {
            for (name, what, figure, show) in FIGURES {
                let bar = |result: &&Throughput| Some(Bar { name: result.name.clone(), spread: figure(result)? });
                let valid = of_role(regime, role).into_iter().filter(|result| result.void.is_none());
                let found: Vec<Bar> = valid.filter_map(|result| bar(&result)).collect();
                if !found.is_empty() {
                    let title = format!("{}, {}: {what}", regime.name.name(), role.name());
                    plots.push((
                        format!("{}-{}-{name}.svg", regime.name.name(), role.name()),
                        bars(&title, &found, show),
                    ));
                }
            }
        }
        if let Some(plot) = latency(regime) {
            plots.push((format!("{}-latency.svg", regime.name.name()), plot));
        }
    }
    plots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn bars_are_as_long_as_their_medians() {
        let bar =
            |name: &str, median: f64, max: f64| Bar { name: name.into(), spread: Spread { median, min: 1.0, max } };
        let svg = bars("a < b", &[bar("ours", 50.0, 100.0), bar("x & y", 25.0, 25.0)], rate);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("width=\"195.0\"") && svg.contains("width=\"97.5\""), "{svg}");
        assert!(svg.contains("a &lt; b") && svg.contains("x &amp; y") && !svg.contains("x & y"), "{svg}");
    }

    #[test]
    fn each_role_and_figure_has_a_plot_and_void_results_have_none() {
        let mut bench = sample::bench();
        let names: Vec<String> = all(&bench).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 7, "{names:?}");
        assert!(names.contains(&"real-producer-rate.svg".to_owned()) && names.contains(&"real-latency.svg".to_owned()));
        bench.regimes[0].throughput.iter_mut().for_each(|result| result.void = Some("void".into()));
        assert_eq!(all(&bench).len(), 1);
    }

    #[test]
    fn values_lie_where_a_logarithm_puts_them() {
        let line = Line { name: "one".into(), points: vec![(0, 1.0), (1, 10.0), (2, 100.0)] };
        let svg = lines("t", &["a", "b", "c"], "ms", &[line]);
        assert!(svg.contains("points=\"70.0,300.0 285.0,172.0 500.0,44.0\""), "{svg}");
    }
}
