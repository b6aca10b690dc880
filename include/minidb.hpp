/*
 * minidb in C++17: minidb.h with objects, strings and exceptions. There is
 * nothing to compile; link with the library. What a call does is said in
 * minidb.h under the same name; here is what differs.
 *
 * Ownership. A database, a snapshot, a transaction and a cursor each own one
 * handle, and close it when destroyed. They can be moved but not copied, and
 * destroyed in any order: the others go on without their database, and keep its
 * file open. One that was moved from is refused like a closed handle.
 *
 * Bytes. Arguments are string views, read during the call only, and results
 * are the caller's strings. Only a cursor lends: what it shows is valid until
 * it is moved to another entry or destroyed. Where NULL means something in C,
 * it is std::nullopt here; an empty view is always the empty string. What takes
 * a `maybe` takes std::nullopt or whatever converts to a string view.
 *
 * Errors. "No" is an answer, false or std::nullopt; a failure is a
 * minidb::error. Besides that, std::bad_alloc can come from copying a result:
 * what the call was to do is then done.
 *
 * Threads. A database or a snapshot may be used by many threads at once, a
 * transaction or a cursor by one at a time. To move or destroy an object, be alone with it.
 *
 * Where this is not enough, use minidb.h on what handle() returns.
 */
#ifndef MINIDB_HPP
#define MINIDB_HPP

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <type_traits>

#include "minidb.h"

namespace minidb {

/// A call failed: code() is what it returned, what() the library's text.
class error : public std::runtime_error {
public:
    explicit error(int code) : error(code, minidb_strerror(code)) {}
    error(int code, const char *text) : std::runtime_error(text), code_(code) {}

    int code() const noexcept { return code_; }

private:
    int code_;
};

/// What a cursor shows, and what database::write takes.
struct entry {
    std::string_view key;
    std::string_view value;
};

namespace detail {

struct release {
    void operator()(minidb_t *db) const noexcept { minidb_close(db); }
    void operator()(minidb_cursor_t *cursor) const noexcept { minidb_cursor_close(cursor); }
    void operator()(char *bytes) const noexcept { minidb_free(bytes); }
};

template <class T>
using owned = std::unique_ptr<T, release>;

/// For a call that has nothing to answer: anything but "done" is an error.
inline void done(int code) {
    if (code != MINIDB_OK) throw error(code);
}

/// For a call that answers yes or no.
inline bool yes(int code) {
    if (code < 0) throw error(code);
    return code == MINIDB_OK;
}

/// An argument that may be absent: NULL then, and only then. A nullptr does not
/// compile: std::string_view would read from it.
struct maybe {
    maybe(std::nullopt_t = std::nullopt) {}
    maybe(std::nullptr_t) = delete;
    template <class T, class = std::enable_if_t<
                           std::is_convertible_v<const T &, std::optional<std::string_view>>>>
    maybe(const T &argument) {
        const std::optional<std::string_view> bytes(argument);
        if (!bytes) return;
        data = bytes->data() ? bytes->data() : "";
        size = bytes->size();
    }

    const char *data = nullptr;
    std::size_t size = 0;
};

inline void pack(std::string &packed, std::string_view key, std::string_view value) {
    for (std::string_view bytes : {key, value}) {
        if (bytes.size() > MINIDB_MAX_LEN)
            throw error(MINIDB_INVALID, "a key or value is longer than MINIDB_MAX_LEN");
        const auto size = static_cast<std::uint32_t>(bytes.size());
        packed.append(reinterpret_cast<const char *>(&size), sizeof size);
    }
    packed.append(key).append(value);
}

} // namespace detail

/// A position in the ordered entries of a view.
///
///     for (auto [key, value] : db.scan_prefix("user/")) ...
///     for (auto c = db.all(); c.prev();) ... c.key() ... // backwards
class cursor {
public:
    /// Takes over a handle.
    explicit cursor(minidb_cursor_t *handle) noexcept : handle_(handle) {}

    bool first() { return detail::yes(minidb_cursor_first(handle())); }
    bool last() { return detail::yes(minidb_cursor_last(handle())); }
    bool next() { return detail::yes(minidb_cursor_next(handle())); }
    bool prev() { return detail::yes(minidb_cursor_prev(handle())); }
    bool seek(std::string_view key) {
        return detail::yes(minidb_cursor_seek(handle(), key.data(), key.size()));
    }

    /// Empty if the cursor is at no entry, as is value().
    std::string_view key() const noexcept {
        std::size_t size = 0;
        const char *data = minidb_cursor_key(handle(), &size);
        return {data, size};
    }
    std::string_view value() const noexcept {
        std::size_t size = 0;
        const char *data = minidb_cursor_value(handle(), &size);
        return {data, size};
    }

    /// An input iterator: it moves the cursor, and has no position of its own.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = entry;
        using difference_type = std::ptrdiff_t;
        using pointer = const entry *;
        using reference = const entry &;

        iterator() = default;
        reference operator*() const noexcept { return at_; }
        pointer operator->() const noexcept { return &at_; }
        iterator &operator++() {
            settle(cursor_->next());
            return *this;
        }
        void operator++(int) { ++*this; }
        friend bool operator==(const iterator &a, const iterator &b) noexcept {
            return a.cursor_ == b.cursor_;
        }
        friend bool operator!=(const iterator &a, const iterator &b) noexcept {
            return a.cursor_ != b.cursor_;
        }

    private:
        friend class cursor;
        explicit iterator(cursor *c) : cursor_(c) { settle(c->first()); }
        void settle(bool there) {
            if (there)
                at_ = {cursor_->key(), cursor_->value()};
            else
                cursor_ = nullptr;
        }

        cursor *cursor_ = nullptr; // NULL at the end
        entry at_;
    };

    /// Goes to the first entry, wherever the cursor was.
    iterator begin() { return iterator(this); }
    iterator end() noexcept { return {}; }

    minidb_cursor_t *handle() const noexcept { return handle_.get(); }

private:
    detail::owned<minidb_cursor_t> handle_;
};

/// What can be read: a database, a snapshot or a transaction.
class view {
public:
    std::optional<std::string> get(std::string_view key) const {
        std::string value;
        if (!get_into(key, value)) return std::nullopt;
        return value;
    }

    /// Reads into a string that keeps its memory from call to call, and leaves
    /// it empty if the key is not there.
    bool get_into(std::string_view key, std::string &value) const {
        value.resize(std::min(value.capacity(), std::max<std::size_t>(value.size(), 256)));
        for (;;) { // again while the value does not fit, or is replaced by one that does not
            std::size_t size = 0;
            const int code = minidb_get_into(handle(), key.data(), key.size(), value.data(),
                                             value.size(), &size);
            const bool fits = size <= value.size();
            value.resize(size);
            if (fits) return detail::yes(code);
        }
    }

    bool contains(std::string_view key) const {
        return detail::yes(minidb_get(handle(), key.data(), key.size(), nullptr, nullptr));
    }

    /// The number of keys.
    std::uint64_t size() const { return stat(MINIDB_STAT_COUNT); }

    std::uint64_t stat(int what) const {
        std::uint64_t value = 0;
        detail::done(minidb_stat(handle(), what, &value));
        return value;
    }

    cursor all() const { return scan(std::nullopt, std::nullopt); }

    cursor scan(detail::maybe from, detail::maybe to) const {
        minidb_cursor_t *opened = nullptr;
        detail::done(minidb_scan(handle(), from.data, from.size, to.data, to.size, &opened));
        return cursor(opened);
    }

    cursor scan_prefix(std::string_view prefix) const {
        minidb_cursor_t *opened = nullptr;
        detail::done(minidb_scan_prefix(handle(), prefix.data(), prefix.size(), &opened));
        return cursor(opened);
    }

    void check() const { detail::done(minidb_check(handle())); }

    /// False if there is a file at `path` already.
    [[nodiscard]] bool backup(const char *path) const {
        return detail::yes(minidb_backup(handle(), path));
    }

    minidb_t *handle() const noexcept { return handle_.get(); }

protected:
    explicit view(minidb_t *handle) noexcept : handle_(handle) {}

private:
    detail::owned<minidb_t> handle_;
};

/// A view that reads the same for ever.
class snapshot : public view {
public:
    /// Takes over a handle.
    explicit snapshot(minidb_t *handle) noexcept : view(handle) {}
};

/// A view that can be written.
class writable : public view {
public:
    void put(std::string_view key, std::string_view value) {
        detail::done(minidb_put(handle(), key.data(), key.size(), value.data(), value.size(),
                                nullptr, nullptr));
    }

    /// Returns the value that the key had before.
    std::optional<std::string> put_returning(std::string_view key, std::string_view value) {
        char *old = nullptr;
        std::size_t size = 0;
        detail::done(minidb_put(handle(), key.data(), key.size(), value.data(), value.size(),
                                &old, &size));
        return take(old, size);
    }

    /// minidb_delete: `delete` is a word of the language. False if the key was
    /// not there.
    bool delete_key(std::string_view key) {
        return detail::yes(minidb_delete(handle(), key.data(), key.size(), nullptr, nullptr));
    }

    /// Returns the value that the key had before.
    std::optional<std::string> delete_returning(std::string_view key) {
        char *old = nullptr;
        std::size_t size = 0;
        detail::yes(minidb_delete(handle(), key.data(), key.size(), &old, &size));
        return take(old, size);
    }

    void clear(detail::maybe from = {}, detail::maybe to = {}) {
        detail::done(minidb_clear(handle(), from.data, from.size, to.data, to.size));
    }

    /// False, changing nothing, if the value was not the expected one.
    [[nodiscard]] bool cas(std::string_view key, detail::maybe expected, detail::maybe desired) {
        return detail::yes(minidb_cas(handle(), key.data(), key.size(), expected.data,
                                      expected.size, desired.data, desired.size));
    }

    /// Puts all entries in one atomic step. They may be anything that can be
    /// walked over and has two parts: a braced list, a map, another cursor.
    template <class Entries = std::initializer_list<entry>>
    void write(Entries &&entries) {
        std::string packed;
        for (auto &&[key, value] : entries) detail::pack(packed, key, value);
        write_packed(packed);
    }

    /// Puts the entries of a buffer that minidb_cursor_read has packed.
    void write_packed(std::string_view entries) {
        detail::done(minidb_write(handle(), entries.data(), entries.size()));
    }

protected:
    using view::view;

private:
    static std::optional<std::string> take(char *bytes, std::size_t size) {
        const detail::owned<char> owned(bytes);
        if (!bytes) return std::nullopt;
        return std::string(bytes, size);
    }
};

/// A private view of a database that sees its own writes, which nobody else sees
/// until they are committed. Destroying it drops them.
class transaction : public writable {
public:
    /// Takes over a handle.
    explicit transaction(minidb_t *handle) noexcept : writable(handle) {}

    /// False, writing nothing, if what it read has changed since. In either case
    /// it has begun anew.
    [[nodiscard]] bool commit() { return detail::yes(minidb_commit(handle())); }
};

/// In memory or in a file. Each write is a commit of its own.
class database : public writable {
public:
    /// A new database in memory, or the one in the file at `path`; `flags` are
    /// MINIDB_OPEN_* values joined by `|`. That the file is not there, or already,
    /// where a flag forbids it, is an error, too: MINIDB_NOTFOUND or MINIDB_CONFLICT.
    explicit database(const char *path = nullptr, std::uint32_t flags = 0)
        : writable(open(path, flags)) {}

    minidb::snapshot snapshot() const {
        minidb_t *opened = nullptr;
        detail::done(minidb_snapshot(handle(), &opened));
        return minidb::snapshot(opened);
    }

    minidb::transaction begin() const {
        minidb_t *begun = nullptr;
        detail::done(minidb_begin(handle(), &begun));
        return minidb::transaction(begun);
    }

    /// Runs `body` with a transaction and commits it; again, from the beginning,
    /// for as long as others are faster. So all that the body does must bear
    /// being done again. Returns what the body does. If it throws, nothing is
    /// written and the exception goes on.
    ///
    ///     db.transaction([&](auto &txn) { txn.put("b", txn.get("a").value_or("")); });
    template <class Body>
    std::invoke_result_t<Body &, minidb::transaction &> transaction(Body &&body) {
        using Result = std::invoke_result_t<Body &, minidb::transaction &>;
        auto txn = begin();
        for (;;) {
            if constexpr (std::is_void_v<Result>) {
                body(txn);
                if (txn.commit()) return;
            } else {
                Result result = body(txn);
                if (txn.commit()) return result;
            }
        }
    }

    void sync() { detail::done(minidb_sync(handle())); }
    void checkpoint() { detail::done(minidb_checkpoint(handle())); }

private:
    static minidb_t *open(const char *path, std::uint32_t flags) {
        minidb_t *opened = nullptr;
        detail::done(minidb_open(path, flags, &opened));
        return opened;
    }
};

/// Writes what can still be read of a damaged file to a new one, and returns the
/// report. That nothing can be read, or that there is a file at `path`, is an error.
inline std::string salvage(const char *damaged, const char *path) {
    char *report = nullptr;
    detail::done(minidb_salvage(damaged, path, &report));
    const detail::owned<char> owned(report);
    return report;
}

} // namespace minidb

#endif /* MINIDB_HPP */
