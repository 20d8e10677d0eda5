//! The local time: the C library knows the zone (`TZ`, else `/etc/localtime`) and its changes of daylight saving.

use std::mem::MaybeUninit;

/// How many seconds local clocks are ahead of UTC at a point in time, in seconds since 1970.
pub(crate) fn offset(seconds: i64) -> i64 {
    // SAFETY: localtime_r reads one time_t and writes at most one tm, both alive during the call. An all-zero tm, which
    // it leaves for a time whose year is out of range, is valid and says UTC.
    unsafe {
        let mut local = MaybeUninit::<libc::tm>::zeroed();
        libc::localtime_r(&raw const seconds, local.as_mut_ptr());
        local.assume_init().tm_gmtoff
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_is_that_of_the_systems_own_date() {
        for time in [0, 1_700_000_000, 1_720_000_000] {
            let said = std::process::Command::new("date").args(["+%z", "-d", &format!("@{time}")]).output().unwrap();
            let said = String::from_utf8(said.stdout).unwrap();
            let (sign, digits) = said.trim().split_at(1);
            let number: i64 = digits.parse().unwrap();
            let seconds = (number / 100 * 60 + number % 100) * 60;
            assert_eq!(offset(time), if sign == "-" { -seconds } else { seconds }, "{time} {said}");
        }
        assert_eq!(offset(i64::MAX), 0);
    }
}
