//! What the kernel counts of a process, and how busy the machine is. It only reads `/proc`.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Resident memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Now: VmRSS.
    pub now: u64,
    /// At most since it was started: VmHWM.
    pub most: u64,
}

/// Resident memory of a process.
///
/// # Errors
/// If it is gone.
pub fn memory(process: u32) -> io::Result<Memory> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    let field = |name| number(&text, name).map(|kib| kib * 1024);
    Ok(Memory { now: field("VmRSS:")?, most: field("VmHWM:")? })
}

/// Processor time that a process has used, in hundredths of a second.
///
/// # Errors
/// If it is gone.
pub fn ticks(process: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold blanks; user and system time are the twelfth and thirteenth field behind it.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    let times: Vec<u64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    match times[..] {
        [user, system] => Ok(user + system),
        _ => Err(io::Error::other(format!("/proc/{process}/stat holds {text:?}"))),
    }
}

/// What a process has written since it was started, in bytes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    /// Made dirty for the block device: `write_bytes`. Some kernels count a large folio for every sector in it.
    pub disk: u64,
    /// Passed to write calls of any kind: `wchar`.
    pub calls: u64,
}

/// What a process has written.
///
/// # Errors
/// If it is gone, or belongs to somebody else.
pub fn written(process: u32) -> io::Result<Written> {
    let text = fs::read_to_string(format!("/proc/{process}/io"))?;
    // What was truncated before it was written back never went to the disk.
    let cancelled = number(&text, "cancelled_write_bytes:")?;
    let disk = number(&text, "\nwrite_bytes:")?;
    Ok(Written { disk: disk.saturating_sub(cancelled), calls: number(&text, "wchar:")? })
}

/// What was written to the device on which a directory lies since the machine started, by whomever, in bytes. None if
/// the file system has no device of its own.
#[must_use]
pub fn device_written(dir: &Path) -> Option<u64> {
    let device = fs::metadata(dir).ok()?.dev();
    let major = (device >> 8) & 0xfff | (device >> 32) & !0xfff;
    let minor = device & 0xff | (device >> 12) & !0xff;
    let stat = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat")).ok()?;
    // The seventh number is of sectors of 512 bytes, whatever the device's are.
    stat.split_whitespace().nth(6)?.parse::<u64>().ok().map(|sectors| sectors * 512)
}

/// The machine in a line: processors and the load averages.
#[must_use]
pub fn describe() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: Vec<_> = load.split_whitespace().take(3).collect();
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    format!("{cpus} x {}, load average {}", model.map_or("?", |(_, model)| model), load.join(" "))
}

fn number(text: &str, name: &str) -> io::Result<u64> {
    let rest = text.split_once(name).map(|(_, rest)| rest);
    let word = rest.and_then(|rest| rest.split_whitespace().next());
    let missing = || io::Error::other(format!("the kernel does not say {}", name.trim()));
    word.and_then(|word| word.parse().ok()).ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_writes() {
        let me = std::process::id();
        let memory = memory(me).expect("it is there");
        assert!(memory.now > 0 && memory.most >= memory.now);
        assert!(written(me).is_ok());
        assert!(describe().contains("load average"));
    }
}
