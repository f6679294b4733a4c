//! Numbers as people read them in messages.

/// A share: `7.5 %`, `130 %`.
pub(super) fn percent(share: f64) -> String {
    let hundredths = share * 100.0;
    if hundredths >= 10.0 {
        format!("{hundredths:.0} %")
    } else if hundredths >= 0.1 {
        format!("{hundredths:.1} %")
    } else {
        format!("{hundredths:.3} %")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(percent(0.125), "12 %");
        assert_eq!(percent(0.075), "7.5 %");
        assert_eq!(percent(2.0), "200 %");
        assert_eq!(percent(0.0004), "0.040 %");
    }
}
