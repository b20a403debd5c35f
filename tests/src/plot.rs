//! Plots as SVG text: lines over a linear or logarithmic axis, from zero upwards. Nothing is drawn that a reader cannot read off.

use std::fmt::Write as _;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// Room for the title and the legend, and for the numbers of both axes.
const TOP: f64 = 66.0;
const RIGHT: f64 = 24.0;
const BOTTOM: f64 = 54.0;
const LEFT: f64 = 76.0;
/// Marks of an axis, about.
const MARKS: f64 = 6.0;
/// Points of a line that are marked one by one; more would hide it.
const DOTS: usize = 16;
/// Distinguishable without green and red (Okabe and Ito 2008).
const COLOURS: [&str; 7] = [
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#555555",
];

/// How the places of an axis follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// From zero, in equal steps.
    Linear,
    /// In equal factors, with a mark at each place where something was measured.
    Logarithmic,
}

/// One line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What the legend says.
    pub name: String,
    /// Places, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
    /// Whether it is a limit, which is drawn dashed and without dots.
    pub is_limit: bool,
}

/// One plot.
#[derive(Clone, Debug)]
pub struct Plot {
    /// What it shows.
    pub title: String,
    /// What goes to the right, with its unit.
    pub across: String,
    /// How it goes there.
    pub scale: Scale,
    /// What goes up, with its unit; from zero in equal steps.
    pub up: String,
    /// The lines.
    pub series: Vec<Series>,
}

impl Series {
    /// What was measured.
    pub fn line(name: impl Into<String>, points: Vec<(f64, f64)>) -> Self {
        Self {
            name: name.into(),
            points,
            is_limit: false,
        }
    }

    /// The same height everywhere between two places.
    pub fn limit(name: impl Into<String>, height: f64, from: f64, to: f64) -> Self {
        Self {
            name: name.into(),
            points: vec![(from, height), (to, height)],
            is_limit: true,
        }
    }
}

impl Plot {
    /// The picture, as a file has it.
    pub fn svg(&self) -> String {
        let points = || self.series.iter().flat_map(|series| &series.points);
        let least = points().map(|point| point.0).fold(f64::INFINITY, f64::min);
        let most = points()
            .map(|point| point.0)
            .fold(f64::NEG_INFINITY, f64::max);
        let (least, most) = if least <= most {
            (least, most)
        } else {
            (0.0, 1.0)
        };
        let highest = points().map(|point| point.1).fold(0.0, f64::max);
        let up = marks(highest);
        let top = up.last().copied().unwrap_or(1.0);
        let across = match self.scale {
            Scale::Linear => marks(most),
            Scale::Logarithmic => places(points().map(|point| point.0)),
        };
        let (from, to) = match self.scale {
            Scale::Linear => (0.0, across.last().copied().unwrap_or(1.0)),
            Scale::Logarithmic => (least.ln(), most.ln()),
        };
        let x = |place: f64| {
            let place = match self.scale {
                Scale::Linear => place,
                Scale::Logarithmic => place.ln(),
            };
            let share = if to > from {
                (place - from) / (to - from)
            } else {
                0.5
            };
            LEFT + share * (WIDTH - LEFT - RIGHT)
        };
        let y = |height: f64| HEIGHT - BOTTOM - height / top * (HEIGHT - TOP - BOTTOM);

        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\" role=\"img\">\n<title>{title}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n",
            title = escaped(&self.title)
        );
        let middle = f64::midpoint(LEFT, WIDTH - RIGHT);
        text(
            &mut svg,
            middle,
            22.0,
            "middle",
            &self.title,
            "font-size=\"15\"",
        );
        for mark in &up {
            rule(
                &mut svg,
                (LEFT, y(*mark)),
                (WIDTH - RIGHT, y(*mark)),
                "#dddddd",
            );
            text(
                &mut svg,
                LEFT - 8.0,
                y(*mark) + 4.0,
                "end",
                &short(*mark),
                "",
            );
        }
        let floor = HEIGHT - BOTTOM;
        for mark in &across {
            rule(
                &mut svg,
                (x(*mark), floor),
                (x(*mark), floor + 5.0),
                "#555555",
            );
            text(
                &mut svg,
                x(*mark),
                floor + 19.0,
                "middle",
                &short(*mark),
                "",
            );
        }
        rule(&mut svg, (LEFT, floor), (WIDTH - RIGHT, floor), "#555555");
        text(&mut svg, middle, HEIGHT - 12.0, "middle", &self.across, "");
        let turned = format!(
            "transform=\"rotate(-90 18 {0})\"",
            f64::midpoint(TOP, floor)
        );
        text(
            &mut svg,
            18.0,
            f64::midpoint(TOP, floor),
            "middle",
            &self.up,
            &turned,
        );
        let mut legend = LEFT;
        for (series, colour) in self.series.iter().zip(COLOURS.iter().cycle()) {
            let places = series.points.iter();
            let places: Vec<(f64, f64)> = places.map(|point| (x(point.0), y(point.1))).collect();
            line(&mut svg, &places, colour, series.is_limit);
            rule(&mut svg, (legend, 46.0), (legend + 18.0, 46.0), colour);
            text(&mut svg, legend + 24.0, 50.0, "start", &series.name, "");
            // Letters are about as wide as this in every font that may be there.
            legend +=
                44.0 + 6.4 * f64::from(u32::try_from(series.name.chars().count()).unwrap_or(0));
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn line(svg: &mut String, places: &[(f64, f64)], colour: &str, is_limit: bool) {
    let joined: Vec<String> = places
        .iter()
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    let dashes = if is_limit {
        " stroke-dasharray=\"6 4\""
    } else {
        ""
    };
    let _ = writeln!(
        svg,
        "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>",
        joined.join(" ")
    );
    if !is_limit && places.len() <= DOTS {
        for (x, y) in places {
            let _ = writeln!(
                svg,
                "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{colour}\"/>"
            );
        }
    }
}

fn rule(svg: &mut String, from: (f64, f64), to: (f64, f64), colour: &str) {
    let _ = writeln!(
        svg,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\"/>",
        from.0, from.1, to.0, to.1
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str, more: &str) {
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"#222222\" {more}>{}</text>",
        escaped(words)
    );
}

fn escaped(words: &str) -> String {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    words.replace('"', "&quot;")
}

/// Round numbers from zero to the first that is not under the highest.
fn marks(highest: f64) -> Vec<f64> {
    if !highest.is_finite() || highest <= 0.0 {
        return vec![0.0, 1.0];
    }
    let rough = highest / MARKS;
    let unit = 10_f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * unit);
    let step = step.into_iter().find(|step| *step >= rough).unwrap_or(unit);
    let mut marks = vec![0.0];
    while marks.last().is_some_and(|last| *last < highest) {
        // Multiplied anew each time, so that no error adds up.
        marks.push(step * f64::from(u32::try_from(marks.len()).unwrap_or(u32::MAX)));
    }
    marks
}

/// Every place once.
fn places(all: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut places: Vec<f64> = all.collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    places
}

/// A number with as few digits as it needs: `0.25`, `64`, `1.5 k`, `5 M`.
fn short(value: f64) -> String {
    let (value, unit) = match value {
        large if large >= 1e6 => (value / 1e6, " M"),
        large if large >= 1e4 => (value / 1e3, " k"),
        _ => (value, ""),
    };
    let digits = format!("{value:.2}");
    format!(
        "{}{unit}",
        digits.trim_end_matches('0').trim_end_matches('.')
    )
}

#[cfg(test)]
mod tests {
    use super::{Plot, Scale, Series, marks, short};

    fn plot(scale: Scale) -> Plot {
        Plot {
            title: "Cost & size".into(),
            across: "customers".into(),
            scale,
            up: "ms".into(),
            series: vec![
                Series::line("one <upsert>", vec![(5e4, 1.0), (5e5, 1.5), (5e6, 2.0)]),
                Series::limit("bound", 2.0, 5e4, 5e6),
            ],
        }
    }

    #[test]
    fn marks_are_round_and_reach_the_highest() {
        assert_eq!(marks(2.0), [0.0, 0.5, 1.0, 1.5, 2.0]);
        assert_eq!(marks(7_135.0).last(), Some(&8_000.0));
        assert_eq!(marks(0.0), [0.0, 1.0]);
        assert_eq!(marks(f64::NAN), [0.0, 1.0]);
    }

    #[test]
    fn numbers_are_short() {
        let written = [0.25, 64.0, 7_000.0, 50_000.0, 5e6].map(short);
        assert_eq!(written, ["0.25", "64", "7000", "50 k", "5 M"]);
    }

    #[test]
    fn equal_factors_are_equally_far_and_every_measured_place_is_marked() {
        let svg = plot(Scale::Logarithmic).svg();
        let line = svg.lines().find(|line| line.starts_with("<polyline"));
        // Left edge, middle and right edge; the highest value is at the top of the frame.
        assert!(
            line.is_some_and(|line| line.contains("\"76.0,206.0 406.0,136.0 736.0,66.0\"")),
            "{svg}"
        );
        for mark in ["50 k", "500 k", "5 M"] {
            assert!(svg.contains(&format!(">{mark}</text>")), "{mark}: {svg}");
        }
    }

    #[test]
    fn words_are_escaped_and_limits_are_dashed() {
        let svg = plot(Scale::Linear).svg();
        assert!(svg.contains("<title>Cost &amp; size</title>"), "{svg}");
        assert!(svg.contains(">one &lt;upsert></text>"), "{svg}");
        assert_eq!(svg.matches("stroke-dasharray").count(), 1, "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3, "{svg}");
    }

    #[test]
    fn a_plot_of_nothing_is_a_frame() {
        let empty = Plot {
            series: Vec::new(),
            ..plot(Scale::Linear)
        };
        assert!(!empty.svg().contains("NaN"), "{}", empty.svg());
    }
}
