// The stock of a small warehouse: "stock/<part>" is how many there are,
// "price/<part>" what one costs, in cents.
//
//     c++ -std=c++17 -pthread inventory.cpp -lminidb && ./a.out [FILE]
//
// With FILE the morning's stock is saved there.

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>

#include "minidb.hpp"

// One entry a line, in the order of the keys.
static void list(const char *title, const minidb::view &view, std::string_view prefix) {
    std::printf("%s\n", title);
    for (auto [key, value] : view.scan_prefix(prefix)) {
        const std::string part(key.substr(prefix.size())), text(value);
        std::printf("  %-10s %5s\n", part.c_str(), text.c_str());
    }
}

// Takes one part out of the stock, unless there is none. Others may do the
// same meanwhile: whoever is overtaken looks again.
static bool take(minidb::database &db, const std::string &part) {
    const std::string key = "stock/" + part;
    for (;;) {
        const auto there = db.get(key);
        if (!there || *there == "0") return false;
        if (db.cas(key, there, std::to_string(std::stoi(*there) - 1))) return true;
    }
}

// Two clerks serve more orders than there are parts; returns how many each got.
static int sell_out(minidb::database &db, const std::string &part) {
    int sold[2] = {0, 0};
    auto serve = [&](int clerk) {
        for (int order = 0; order < 100; order++) sold[clerk] += take(db, part);
    };
    std::thread other(serve, 1);
    serve(0);
    other.join();
    return sold[0] + sold[1];
}

// An order is served whole or not at all: an exception drops what was taken. If
// others change the stock meanwhile, it begins again.
static void serve(minidb::database &db, const std::map<std::string, int> &order) {
    db.transaction([&](minidb::transaction &txn) {
        for (const auto &[part, wanted] : order) {
            const int there = std::stoi(txn.get("stock/" + part).value_or("0"));
            if (there < wanted) throw std::runtime_error("not enough of " + part);
            txn.put("stock/" + part, std::to_string(there - wanted));
        }
    });
}

static int value_of(const minidb::view &view) {
    int cents = 0;
    std::string price; // read into again and again
    for (auto [key, stock] : view.scan_prefix("stock/")) {
        const std::string part(key.substr(6));
        if (view.get_into("price/" + part, price))
            cents += std::stoi(std::string(stock)) * std::stoi(price);
    }
    return cents;
}

// Saves what a view holds, and goes on in the file.
static void save(const minidb::view &view, const char *path) {
    if (!view.backup(path)) {
        std::printf("There is a file already\n");
        return;
    }
    {
        minidb::database db(path, MINIDB_OPEN_EXISTING);
        db.check();                  // every byte of the file, too
        db.put("stock/gear", "25");  // on disk when this returns
    } // closed: the file alone holds everything
    const minidb::database saved(path, MINIDB_OPEN_READONLY);
    list("In the file", saved, "stock/");
}

static void run(const char *path) {
    minidb::database db; // in memory

    // All of a delivery is there, or nothing: one atomic step.
    const std::map<std::string, std::string> delivery = {
        {"stock/nut", "500"}, {"stock/bolt", "150"}, {"stock/anchor", "12"}};
    db.write(delivery);
    db.write({{"price/anchor", "240"}, {"price/bolt", "15"}, {"price/nut", "4"}});
    list("Delivered", db, "stock/");

    // A snapshot costs nothing and stays as it is, whatever is sold meanwhile.
    const auto morning = db.snapshot();
    std::printf("Sold %d of 200 bolts ordered\n", sell_out(db, "bolt"));
    if (const auto was = db.put_returning("stock/anchor", "11"))
        std::printf("Counted anchors: 11, not %s\n", was->c_str());
    db.put("stock/washer", "900");
    db.delete_key("stock/nut");
    for (int washers : {1000, 100}) {
        try {
            serve(db, {{"anchor", 1}, {"washer", washers}});
            std::printf("Served: an anchor and %d washers\n", washers);
        } catch (const std::runtime_error &e) {
            std::printf("Not served: %s\n", e.what());
        }
    }
    list("In the evening", db, "stock/");
    list("In the morning", morning, "stock/");
    std::printf("Worth %d cents then, %d now\n", value_of(morning), value_of(db));

    // From a key on, and backwards.
    for (auto [key, value] : db.scan("stock/b", std::nullopt)) {
        std::printf("The first after stock/b: %s\n", std::string(key).c_str());
        break;
    }
    auto parts = db.scan_prefix("price/");
    if (parts.last()) std::printf("The last price: %s\n", std::string(parts.value()).c_str());

    // "No" is an answer; only what should not happen is thrown.
    std::printf("Gears in stock: %s\n", db.contains("stock/gear") ? "yes" : "no");
    try {
        db.write_packed("not packed");
    } catch (const minidb::error &e) {
        std::printf("Error %d: %s\n", e.code(), e.what());
    }
    if (path) save(morning, path);
}

int main(int argc, char **argv) {
    try {
        run(argc > 1 ? argv[1] : nullptr);
        return EXIT_SUCCESS;
    } catch (const std::exception &e) {
        std::fprintf(stderr, "inventory: %s\n", e.what());
        return EXIT_FAILURE;
    }
}
