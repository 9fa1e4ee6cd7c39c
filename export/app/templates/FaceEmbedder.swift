// The network itself, in Core ML. Add models/*.mlpackage and golden/* to the app's target; Xcode compiles the packages.
import CoreGraphics
import CoreML
import Foundation
import ImageIO

/// Embeds aligned crops: `try FaceEmbedder(files[0]).embed(crop)`.
final class FaceEmbedder {
    private let file: FaceFile
    private let model: MLModel
    private let input: MLFeatureDescription
    private let output: String

    init(_ file: FaceFile, units: MLComputeUnits = .all) throws {
        self.file = file
        let configuration = MLModelConfiguration()
        configuration.computeUnits = units
        let url = try FaceEmbedder.resource(String(file.name.dropLast(".mlpackage".count)) + ".mlmodelc")
        model = try MLModel(contentsOf: url, configuration: configuration)
        guard let port = model.modelDescription.inputDescriptionsByName.values.first,
            let name = model.modelDescription.outputDescriptionsByName.keys.first
        else { throw CocoaError(.fileReadCorruptFile) }
        input = port
        output = name
    }

    /// Gives the normalised embedding of a crop of height x width pixels, aligned to the template.
    func embed(_ crop: CGImage) throws -> [Float] {
        if let constraint = input.imageConstraint {  // the file takes pixels and scales them itself
            return try run(MLFeatureValue(cgImage: crop, constraint: constraint, options: nil))
        }
        return try embed(tensor: preprocess(rgba: try FaceEmbedder.pixels(crop)))
    }

    /// Says whether two crops show one person, by the threshold that was measured for this very file.
    func samePerson(_ a: CGImage, _ b: CGImage) throws -> Bool {
        return similarity(try embed(a), try embed(b)) >= file.threshold
    }

    /// Embeds every golden face and compares: run it once on each kind of device, and after each change.
    func selfTest() throws -> [Outcome] {
        return try golden.map { face in
            let url = try FaceEmbedder.resource("\(face).png")
            guard let source = CGImageSourceCreateWithURL(url as CFURL, nil),
                let crop = CGImageSourceCreateImageAtIndex(source, 0, nil)
            else { throw CocoaError(.fileReadCorruptFile) }
            let tensor = floats(try Data(contentsOf: try FaceEmbedder.resource("\(face).nchw.bin")))
            let expected = floats(try Data(contentsOf: try FaceEmbedder.resource("\(face).\(file.name).bin")))
            let rgba = try FaceEmbedder.pixels(crop)
            return try check(
                face: face, rgba: rgba, tensor: tensor, expected: expected, leastCosine: file.leastCosine
            ) { values in
                return self.input.imageConstraint == nil ? try self.embed(tensor: values) : try self.embed(crop)
            }
        }
    }

    private func embed(tensor: [Float]) throws -> [Float] {
        let shape = [1, channels, height, width].map { NSNumber(value: $0) }
        let array = try MLMultiArray(shape: shape, dataType: .float32)
        let values = array.dataPointer.bindMemory(to: Float.self, capacity: tensor.count)
        for i in 0..<tensor.count { values[i] = tensor[i] }
        return try run(MLFeatureValue(multiArray: array))
    }

    private func run(_ value: MLFeatureValue) throws -> [Float] {
        let given = try MLDictionaryFeatureProvider(dictionary: [input.name: value])
        guard let got = try model.prediction(from: given).featureValue(for: output)?.multiArrayValue
        else { throw CocoaError(.featureUnsupported) }
        return normalise((0..<got.count).map { got[$0].floatValue })
    }

    /// Gives a picture's bytes R, G, B, A as they are stored, in sRGB.
    private static func pixels(_ crop: CGImage) throws -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: 4 * crop.width * crop.height)
        guard let space = CGColorSpace(name: CGColorSpace.sRGB),
            let context = CGContext(
                data: &bytes, width: crop.width, height: crop.height, bitsPerComponent: 8,
                bytesPerRow: 4 * crop.width, space: space,
                bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { throw CocoaError(.featureUnsupported) }
        context.draw(crop, in: CGRect(x: 0, y: 0, width: crop.width, height: crop.height))
        return bytes
    }

    private static func resource(_ name: String) throws -> URL {
        guard let url = Bundle.main.url(forResource: name, withExtension: nil)
        else { throw CocoaError(.fileNoSuchFile) }
        return url
    }
}
