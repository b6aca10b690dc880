// Transactions and a salvage through include/minidb.hpp. Prints what does not hold.

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "minidb.hpp"

#define CHECK(cond) \
    ((cond) ? void() : (std::fprintf(stderr, "line %d: not so: %s\n", __LINE__, #cond), std::exit(1)))

static int code_of(int (*call)(minidb_t *), minidb_t *handle) { return call(handle); }

static void commits_and_returns_what_the_body_does() {
    minidb::database db;
    const std::string old = db.transaction([](minidb::transaction &txn) {
        txn.put("a", "1");
        txn.write({{"b", "2"}, {"c", "3"}});
        txn.delete_key("c");
        CHECK(txn.get("b") == "2" && txn.size() == 2 && !txn.contains("c"));
        return txn.put_returning("a", "one").value_or("");
    });
    CHECK(old == "1" && db.get("a") == "one" && db.size() == 2);
    db.transaction([](auto &txn) { txn.clear("b"); });
    CHECK(db.size() == 1);
    int n = 7;
    int &same = db.transaction([&](auto &) -> int & { return n; });
    CHECK(&same == &n);
    std::unique_ptr<int> moved = db.transaction([](auto &) { return std::make_unique<int>(8); });
    CHECK(*moved == 8);
}

static void an_exception_from_the_body_rolls_back() {
    minidb::database db;
    db.put("a", "1");
    try {
        db.transaction([](auto &txn) {
            txn.put("a", "2");
            throw std::runtime_error("enough");
        });
        CHECK(!"it goes on");
    } catch (const std::runtime_error &e) {
        CHECK(std::string(e.what()) == "enough");
    }
    CHECK(db.get("a") == "1" && db.stat(MINIDB_STAT_HANDLES) == 1);
    {
        auto txn = db.begin();
        txn.put("a", "3");
    }
    CHECK(db.get("a") == "1");
}

static void the_body_runs_again_if_others_are_faster() {
    minidb::database db;
    db.put("a", "1");
    int runs = 0;
    db.transaction([&](auto &txn) {
        const int a = std::stoi(*txn.get("a"));
        if (++runs < 3) db.put("a", std::to_string(10 * runs));
        txn.put("a", std::to_string(a + 1));
    });
    CHECK(runs == 3 && db.get("a") == "21");

    auto add = [&] {
        for (int i = 0; i < 1000; i++)
            db.transaction([](auto &txn) {
                txn.put("sum", std::to_string(std::stoi(txn.get("sum").value_or("0")) + 1));
            });
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; i++) threads.emplace_back(add);
    for (auto &thread : threads) thread.join();
    CHECK(db.get("sum") == "4000");
}

static void by_hand_a_commit_says_whether_it_was_done() {
    minidb::database db;
    db.put("a", "1");
    auto txn = db.begin();
    CHECK(txn.get("a") == "1");
    db.put("a", "2");
    txn.put("b", "3");
    auto cursor = txn.all();
    CHECK(!txn.commit() && db.get("b") == std::nullopt);
    CHECK(txn.get("a") == "2" && !txn.contains("b")); // begun anew
    txn.put("b", "4");
    CHECK(txn.commit() && db.get("b") == "4");
    CHECK(cursor.last() && cursor.value() == "3"); // goes on over the view it had
    auto other = std::move(txn);
    CHECK(other.cas("b", "4", std::nullopt) && other.commit() && !db.contains("b"));
    CHECK(code_of(minidb_commit, txn.handle()) == MINIDB_INVALID);
}

static void what_is_not_valid_is_an_error() {
    minidb::database db;
    const auto txn = db.begin();
    try {
        minidb::database moved(std::move(db));
        db.begin();
        CHECK(!"it is refused");
    } catch (const minidb::error &e) {
        CHECK(e.code() == MINIDB_INVALID);
    }
}

static void salvaging_returns_the_report(const std::string &path) {
    const std::string copy = path + "-copy";
    minidb::database(path.c_str()).put("a", "1");
    const std::string report = minidb::salvage(path.c_str(), copy.c_str());
    CHECK(report.rfind("entries 1\n", 0) == 0);
    CHECK(minidb::database(copy.c_str(), MINIDB_OPEN_EXISTING).get("a") == "1");
    try {
        minidb::salvage(path.c_str(), copy.c_str());
        CHECK(!"there is a file");
    } catch (const minidb::error &e) {
        CHECK(e.code() == MINIDB_CONFLICT);
    }
    std::remove(path.c_str());
    std::remove(copy.c_str());
}

int main(int, char **argv) {
    commits_and_returns_what_the_body_does();
    an_exception_from_the_body_rolls_back();
    the_body_runs_again_if_others_are_faster();
    by_hand_a_commit_says_whether_it_was_done();
    what_is_not_valid_is_an_error();
    salvaging_returns_the_report(std::string(argv[0]) + "-file");
    std::puts("transactions: 6 tests passed");
}
