// The words of a text, counted by two threads: on minidb.
#include <cstdio>
#include <minidb.hpp>
#include <string>
#include <thread>
#include <vector>

static minidb::database db; // in memory

static void count(const std::vector<std::string> &words) {
    for (const auto &word : words) {
        db.transaction([&](auto &txn) { // is run again if it was overtaken
            txn.put(word, std::to_string(std::stoi(txn.get(word).value_or("0")) + 1));
        });
    }
}

int main() {
    std::thread other(count, std::vector<std::string>{"to", "be", "or"});
    count({"not", "to", "be"});
    other.join();

    for (auto [word, number] : db.all()) // in order
        std::printf("%s %s\n", std::string(word).c_str(), std::string(number).c_str());

    db.delete_key("or");
    const auto found = db.get("be");
    std::printf("be %s, %d words\n", found.value_or("0").c_str(), static_cast<int>(db.size()));
}
