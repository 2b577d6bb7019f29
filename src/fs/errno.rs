//! Errors as the system numbers them.

use rustix::io::Errno;

use super::FsError;

impl FsError {
    /// The system's number for this error.
    #[must_use]
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::NoEntry => Errno::NOENT,
            Self::Gone => Errno::STALE,
            Self::NotFolder => Errno::NOTDIR,
            Self::NotSymlink | Self::NotFile => Errno::INVAL,
            Self::IsFolder => Errno::ISDIR,
            Self::NoData => Errno::NXIO,
            Self::Exists => Errno::EXIST,
            Self::NotEmpty => Errno::NOTEMPTY,
            Self::NoSpace => Errno::NOSPC,
            Self::TooLong => Errno::NAMETOOLONG,
            Self::Invalid => Errno::INVAL,
            Self::NoAttribute => Errno::NODATA,
            Self::TooLarge => Errno::FBIG,
            Self::TooManyLinks => Errno::MLINK,
            Self::ReadOnly => Errno::ROFS,
            Self::Unsupported => Errno::OPNOTSUPP,
            Self::Damaged(_) => Errno::IO,
        };
        errno.raw_os_error()
    }
}
