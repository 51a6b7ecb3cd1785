// A tiny but complete GGUF model for tests: 2 layers, hidden 32, 4 heads of 8 over 2 KV heads, 4 tokens.
#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gguf_builder.h"

namespace mxq {

struct TinyGguf {
  std::string architecture = "llama";
  bool separate_output = false;  // else the embedding is the output matrix too
  bool qkv_bias = false;
  bool head_norms = false;                                            // q_norm and k_norm
  bool extra_keys = true;                                             // key_length, as Qwen 3 has it
  std::set<std::string> without;                                      // tensors and keys to leave out
  std::vector<std::pair<std::string, std::vector<uint64_t>>> shapes;  // other shapes than the right ones

  static constexpr uint64_t hidden = 32, inner = 64, vocab = 4, heads = 4, kv_heads = 2, head = 8, layers = 2;

  /// Element i of a tensor: different in every tensor, row and column, and exact in F16.
  static float value(const std::string& name, uint64_t i) {
    uint64_t sum = 0;
    for (char c : name) sum = sum * 31 + static_cast<unsigned char>(c);
    return static_cast<float>(static_cast<int64_t>((i + sum % 7) % 2048) - 1024);
  }

  GgufBuilder builder() const {
    GgufBuilder b;
    b.string("general.architecture", architecture);
    const auto u32 = [&](const std::string& key, uint32_t number) {
      if (!without.contains(key)) b.u32(architecture + "." + key, number);
    };
    u32("block_count", layers);
    u32("context_length", 128);
    u32("embedding_length", hidden);
    u32("feed_forward_length", inner);
    u32("attention.head_count", heads);
    u32("attention.head_count_kv", kv_heads);
    if (extra_keys) {
      u32("attention.key_length", head);
      u32("attention.value_length", head);
    }
    if (!without.contains("eps")) b.f32(architecture + ".attention.layer_norm_rms_epsilon", 1e-5f);
    b.f32(architecture + ".rope.freq_base", 10000.f);

    add(b, "token_embd.weight", {vocab, hidden});
    for (uint64_t layer = 0; layer < layers; ++layer) {
      const std::string block = "blk." + std::to_string(layer) + ".";
      add(b, block + "attn_norm.weight", {hidden});
      add(b, block + "attn_q.weight", {heads * head, hidden});
      add(b, block + "attn_k.weight", {kv_heads * head, hidden});
      add(b, block + "attn_v.weight", {kv_heads * head, hidden});
      add(b, block + "attn_output.weight", {hidden, heads * head});
      if (qkv_bias) {
        add(b, block + "attn_q.bias", {heads * head});
        add(b, block + "attn_k.bias", {kv_heads * head});
        add(b, block + "attn_v.bias", {kv_heads * head});
      }
      if (head_norms) {
        add(b, block + "attn_q_norm.weight", {head});
        add(b, block + "attn_k_norm.weight", {head});
      }
      add(b, block + "ffn_norm.weight", {hidden});
      add(b, block + "ffn_gate.weight", {inner, hidden});
      add(b, block + "ffn_up.weight", {inner, hidden});
      add(b, block + "ffn_down.weight", {hidden, inner});
    }
    add(b, "output_norm.weight", {hidden});
    if (separate_output) add(b, "output.weight", {vocab, hidden});
    return b;
  }

 private:
  void add(GgufBuilder& b, const std::string& name, std::vector<uint64_t> shape) const {
    if (without.contains(name)) return;
    for (const auto& [other, replacement] : shapes) {
      if (other == name) shape = replacement;
    }
    uint64_t elements = 1;
    for (uint64_t extent : shape) elements *= extent;
    std::vector<float> values(elements);
    for (uint64_t i = 0; i < elements; ++i) values[i] = value(name, i);
    b.f32_tensor(name, shape, values);
  }
};

}  // namespace mxq
