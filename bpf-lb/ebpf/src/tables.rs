//! The tables of connections of one family.

/// `BPF_NOEXIST`: only if there is no such entry.
pub(crate) const NOEXIST: u64 = 1;

/// Removing what is not there is what was wanted.
macro_rules! tables {
    ($connections:ident, $half_open:ident) => {
        #[inline(always)]
        fn connection(key: &Self::Key) -> Option<*mut Self::Entry> {
            $connections.get_ptr_mut(key)
        }

        #[inline(always)]
        fn half_open(key: &Self::Key) -> Option<*mut Self::Entry> {
            $half_open.get_ptr_mut(key)
        }

        #[inline(always)]
        fn insert(key: &Self::Key, entry: &Self::Entry) -> bool {
            $connections.insert(key, entry, 0).is_ok()
        }

        #[inline(always)]
        fn insert_half_open(key: &Self::Key, entry: &Self::Entry) -> bool {
            if $half_open
                .insert(key, entry, $crate::tables::NOEXIST)
                .is_ok()
            {
                $crate::turnover::inserted();
                return true;
            }
            $half_open.insert(key, entry, 0).is_ok()
        }

        #[inline(always)]
        fn remove(key: &Self::Key) {
            let _ = $connections.remove(key);
        }

        #[inline(always)]
        fn remove_half_open(key: &Self::Key) {
            if $half_open.remove(key).is_ok() {
                $crate::turnover::removed();
            }
        }
    };
}

pub(crate) use tables;
