//! A terminal that is drawn on again and again, on its second page, so that what was there before is there again afterwards.
//!
//! Invariant: whatever ends it, the terminal is left as it was found.

use std::io::{self, Stdout, Write as _};

use super::rows::Size;

/// The terminal at standard output, while it is drawn on.
#[derive(Debug)]
pub struct Screen {
    out: Stdout,
}

impl Screen {
    pub fn open() -> io::Result<Self> {
        let screen = Self { out: io::stdout() };
        screen.write(OPEN.as_bytes())?;
        Ok(screen)
    }

    /// Asked for anew before each drawing, since windows are resized.
    pub fn size(&self) -> Size {
        let size = rustix::termios::tcgetwinsize(&self.out);
        let (columns, lines) = size.map_or((0, 0), |size| (size.ws_col, size.ws_row));
        // A terminal that does not tell has what terminals had when they could not be resized.
        let or = |told: u16, else_: usize| if told == 0 { else_ } else { usize::from(told) };
        Size {
            columns: or(columns, 80),
            lines: or(lines, 24),
        }
    }

    pub fn show(&self, lines: &[String]) -> io::Result<()> {
        let mut drawing = String::from(HOME);
        for (at, line) in lines.iter().take(self.size().lines).enumerate() {
            if at > 0 {
                drawing.push_str("\r\n");
            }
            drawing.push_str(line);
            drawing.push_str(CLEAR_LINE);
        }
        drawing.push_str(CLEAR_BELOW);
        self.write(drawing.as_bytes())
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        let mut out = self.out.lock();
        out.write_all(bytes)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no order.
        self.write(CLOSE.as_bytes()).ok();
    }
}

/// The second page, no cursor, and long lines are cut instead of broken.
const OPEN: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const CLOSE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";
const HOME: &str = "\x1b[H";
const CLEAR_LINE: &str = "\x1b[K";
const CLEAR_BELOW: &str = "\x1b[J";
