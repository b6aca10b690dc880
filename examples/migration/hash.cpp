// The words of a text, counted by two threads: in a hash table.
#include <algorithm>
#include <cstdio>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

static std::unordered_map<std::string, int> counts;
static std::mutex lock;

static void count(const std::vector<std::string> &words) {
    for (const auto &word : words) {
        std::lock_guard<std::mutex> held(lock);
        counts[word]++;
    }
}

int main() {
    std::thread other(count, std::vector<std::string>{"to", "be", "or"});
    count({"not", "to", "be"});
    other.join();

    std::vector<std::string> words; // in no order
    for (const auto &entry : counts) words.push_back(entry.first);
    std::sort(words.begin(), words.end());
    for (const auto &word : words) std::printf("%s %d\n", word.c_str(), counts[word]);

    counts.erase("or");
    const auto found = counts.find("be");
    std::printf("be %d, %zu words\n", found == counts.end() ? 0 : found->second, counts.size());
}
