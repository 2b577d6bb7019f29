//! The colours of the page, for both themes.
//!
//! A chart is drawn in the colours of the light theme, which must differ from each other: the
//! style sheet finds what is drawn in a colour by its code, and gives it that of the theme.

use plotters::style::RGBColor;

/// A colour, by what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ink {
    name: &'static str,
    light: u32,
    dark: u32,
}

/// Text that is to be read first.
pub const TEXT: Ink = Ink { name: "text", light: 0x1d_2126, dark: 0xe7_e9ec };
/// Text that stands back.
pub const SOFT: Ink = Ink { name: "soft", light: 0x5c_6570, dark: 0x9a_a3ae };
/// Hairlines.
pub const GRID: Ink = Ink { name: "grid", light: 0xe4_e7eb, dark: 0x2b_3036 };
/// packfs.
pub const ACCENT: Ink = Ink { name: "accent", light: 0x0a_64c4, dark: 0x62_b0ff };
/// Its peers.
pub const PEER: Ink = Ink { name: "peer", light: 0x6e_7781, dark: 0x8f_99a5 };
/// What is there for orientation: the source, the ceiling.
pub const MUTED: Ink = Ink { name: "muted", light: 0xb3_bac3, dark: 0x57_606b };
/// Failures.
pub const BAD: Ink = Ink { name: "bad", light: 0xb4_2318, dark: 0xff_8f85 };
/// The paper.
const PAPER: Ink = Ink { name: "paper", light: 0xff_ffff, dark: 0x14_171b };
/// What is set off from it.
const PANEL: Ink = Ink { name: "panel", light: 0xf6_f7f9, dark: 0x1b_1f24 };

const ALL: [Ink; 9] = [TEXT, SOFT, GRID, ACCENT, PEER, MUTED, BAD, PAPER, PANEL];

impl Ink {
    /// The colour of the light theme.
    pub fn color(self) -> RGBColor {
        let [_, red, green, blue] = self.light.to_be_bytes();
        RGBColor(red, green, blue)
    }
}

/// The style sheet's part that sets the colours.
pub fn css() -> String {
    let set = |of: fn(&Ink) -> u32| -> String {
        ALL.iter().map(|ink| format!("--{}:#{:06X};", ink.name, of(ink))).collect()
    };
    let (light, dark) = (set(|ink| ink.light), set(|ink| ink.dark));
    let recolour = |ink: &Ink| {
        let Ink { name, light, .. } = ink;
        format!(
            "svg [fill=\"#{light:06X}\"]{{fill:var(--{name})}}\n\
             svg [stroke=\"#{light:06X}\"]{{stroke:var(--{name})}}\n"
        )
    };
    let recolour: String = ALL.iter().map(recolour).collect();
    format!(
        ":root{{color-scheme:light;{light}}}\n\
         @media (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;\
         {dark}}}}}\n\
         :root[data-theme=dark]{{color-scheme:dark;{dark}}}\n{recolour}"
    )
}
